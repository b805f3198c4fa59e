-- What every step on one account begins with: reads the account, knows the time, and has the
-- domain's moves (src/domain/account.rs and src/domain/book/) under the domain's names. Names in
-- capitals are positions and codes: src/hot/redis/layout.rs puts their numbers in.
--
-- Nothing is written until `flush`, so a step that gives up on its way has changed nothing.
--
-- KEYS 1 account  2 the account's deadlines  3 due  4 out  5 meta  6 ended
--      7 the account's packed grants   [8 the reservation that the step is about]
--      the records of holds that are due, where the step was told to ask again with them
-- ARGV 1 now in ms, or '' for the server's clock
--      2 replay window in ms, 0 where settled reservations are forgotten by the sweep
--      3 the most records that the outbox keeps   4 how many due holds are given   5 account id
--      the step's own
--      the ids of those due holds
--      what known.lua takes off, last
-- Reply: packed values: code, now, outbox position, era, account record, reservation record or
--        false, packed grants or false, then the step's own. After NOT_LOADED and NO_ACCOUNT
--        nothing else is read, FULL brings how many records wait, DUE the ids to ask with.

-- The moves of one account, as they are the book's in the domain. Lua makes every function anew
-- each time a script runs, which takes longer than most of them do: `book.seldom` makes those
-- that the step seldom needs, when the first of them is asked for (src/hot/redis/scripts.rs).
local book = setmetatable({}, {__index = function(book, name)
  setmetatable(book, nil)
  book.seldom()
  return book[name]
end})
local call, pack, decode, text = redis.call, cmsgpack.pack, cmsgpack.unpack, string.format
local window_ms, outbox_max, due_given = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local meta = call('HMGET', KEYS[5], 'tail', 'trimmed', 'epoch', 'server', 'era')
local tail, trimmed, era = tonumber(meta[1]), tonumber(meta[2]), tonumber(meta[5])
local closed = known_gate(meta[3], meta[4], meta[5], meta[1])
if closed then return closed end

local stored = call('GET', KEYS[1])
if not stored then return pack(NOT_LOADED) end
local account = decode(stored)
if account[A_FORMAT] ~= FORMAT then
  if account[A_FORMAT] == TOMBSTONE then return pack(NOT_LOADED) end
  if account[A_FORMAT] == ABSENT then return pack(NO_ACCOUNT) end
  return redis.error_reply('TOLLGATE account record of format ' .. text('%.0f', account[A_FORMAT]))
end
local grants = account[A_GRANTS]
-- Whether some of its grants are packed; and they, where the step packed or read them.
local was_folded, folded = account[A_FOLD], nil

if tail - trimmed >= outbox_max then return pack(FULL, tail - trimmed) end

local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
-- Time never runs backwards on an account, whatever a failover does to the server's clock.
if now < account[A_SEEN] then now = account[A_SEEN] end

local dirty = false
local entries, touched, stale = {}, {}, {}
-- The ids that the step must be asked again with, and how many holds it has expired.
local wanted, expired_count, used_given = nil, 0, false

function book.has_ended(grant)
  return grant[G_VOIDED] or (grant[G_UNTIL] and grant[G_UNTIL] <= now)
end

function book.is_active(grant)
  return grant[G_FROM] <= now and not book.has_ended(grant)
end

function book.remaining(grant)
  local left = grant[G_AMOUNT] - grant[G_USED] - grant[G_HELD] - grant[G_EXPIRED]
  return left > 0 and left or 0
end

function book.some_ended()
  for i = 1, #grants do
    if book.has_ended(grants[i]) then return true end
  end
  return false
end

function book.available()
  if account[A_DEBT] > 0 then return 0 end
  local sum = account[A_FOLD_LEFT] or 0
  for i = 1, #grants do
    if book.is_active(grants[i]) then sum = sum + book.remaining(grants[i]) end
  end
  return sum < CREDITS_MAX and sum or CREDITS_MAX
end

-- What must be done before the step: to apply the account's creation, which whoever loads it does, or
-- to renew it. Without the first it has no grants, and would be taken for one that is used up.
function book.hindrance()
  if account[A_CHANGE] == 0 then return NOT_LOADED end
  if account[A_STATUS] ~= CLOSED and now >= account[A_END] then return CYCLE_ENDED end
end

-- What is said of packed grants holds until the first of them begins or ends.
function book.notice_changes()
  if account[A_FOLD] and account[A_FOLD_UNTIL] <= now then book.unfold() end
end

-- Lets time act on the account before anything else does.
function book.advance()
  book.notice_changes()
  if book.some_ended() then book.expire_grants() end
  if account[A_DEBT] > 0 then book.repay_debt() end
end

-- Ends every transition that changed something.
function book.finish()
  if account[A_DEBT] > 0 then book.repay_debt() end
  if book.some_ended() then book.drop_ended() end
  account[A_VERSION] = account[A_VERSION] + 1
  dirty = true
end

-- A reservation with what must be known to write it: {key, id, bytes, was open, record}.
function book.read(key, id)
  local bytes = call('GET', key)
  if not bytes then return nil end
  local known = decode(bytes)
  if known[R_FORMAT] == FINAL then
    known = book.reopen(known)
  elseif known[R_FORMAT] ~= FORMAT then
    error(redis.error_reply('TOLLGATE reservation record of format '
      .. text('%.0f', known[R_FORMAT])))
  elseif #known == R_HOLDS then
    book.complete(known)
  elseif known[R_STATE] == EXPIRED and known[R_COMMITS] > 0 and book.is_forgotten(known) then
    return nil
  end
  return {key = key, id = id, bytes = bytes, was_open = known[R_STATE] == OPEN, record = known}
end

function book.check_in(held)
  dirty = true
  held.bytes = nil
  if not held.is_touched then
    held.is_touched = true
    touched[#touched + 1] = held
  end
end

-- Writes everything, the stream first: it is what a server that is out of memory refuses.
function book.flush()
  if not dirty and #stale == 0 then return stored end
  account[A_SEEN] = now
  for i = 1, #entries do
    tail = tail + 1
    call('XADD', KEYS[4], text('%.0f-0', tail), 'e', entries[i])
  end
  if #entries > 0 then account[A_MARK] = tail end
  local due = account[A_DUE]
  for i = 1, #touched do
    local known = touched[i].record
    if known[R_STATE] == OPEN and known[R_EXPIRES] < due then due = known[R_EXPIRES] end
  end
  if due < account[A_DUE] then call('ZADD', KEYS[3], text('%.0f', due), ARGV[5]) end
  account[A_DUE] = due
  -- First: one of them may be opened anew by this very step.
  for i = 1, #stale do call('ZREM', KEYS[2], stale[i]) end
  local packed = #grants >= FOLD_MIN and not account[A_FOLD] and book.fold()
  local bytes, opened = pack(account), -#stale
  local writes = {KEYS[1], bytes}
  if packed then writes[3], writes[4] = KEYS[7], packed end
  for i = 1, #touched do
    local held = touched[i]
    local known, member = held.record, ARGV[5] .. '/' .. held.id
    local state, ended = known[R_STATE], known[R_ENDED]
    held.bytes = pack((state == COMMITTED or state == RELEASED) and book.final(known) or known)
    if state == OPEN then
      writes[#writes + 1] = held.key
      writes[#writes + 1] = held.bytes
      call('ZADD', KEYS[2], text('%.0f', known[R_EXPIRES]), held.id)
      if window_ms == 0 then call('ZREM', KEYS[6], member) end
      if not held.was_open then opened = opened + 1 end
    else
      if window_ms > 0 then
        call('SET', held.key, held.bytes, 'PX', ARGV[2])
      else
        call('SET', held.key, held.bytes)
        call('ZADD', KEYS[6], text('%.0f', ended), member)
      end
      if held.was_open then
        call('ZREM', KEYS[2], held.id)
        opened = opened - 1
      end
    end
  end
  call('MSET', unpack(writes))
  if was_folded and not account[A_FOLD] then
    call('DEL', KEYS[7])
    folded = nil
  end
  if #entries > 0 then call('HSET', KEYS[5], 'tail', text('%.0f', tail)) end
  if opened ~= 0 then call('HINCRBY', KEYS[5], 'open', text('%.0f', opened)) end
  return bytes
end

function book.answer(code, held, ...)
  if wanted then return pack(DUE, wanted) end
  local bytes = book.flush()
  return pack(code, now, tail, era, bytes, held and (held.bytes or pack(held.record)) or false,
    folded or false, ...)
end
