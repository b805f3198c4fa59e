-- What every step on one account begins with: reads the account, knows the time, and has the
-- domain's moves (src/domain/account.rs and src/domain/book/) under the domain's names. Names in
-- capitals are positions and codes: src/hot/redis/layout.rs puts their numbers in.
--
-- Nothing is written until `flush`, so a step that gives up on its way has changed nothing.
--
-- KEYS 1 account  2 the account's deadlines  3 due  4 out  5 meta  6 ended
--      [7 the reservation that the step is about]
--      the records of holds that are due, where the step was told to ask again with them
-- ARGV 1 now in ms, or '' for the server's clock
--      2 replay window in ms, 0 where settled reservations are forgotten by the sweep
--      3 the most records that the outbox keeps   4 how many due holds are given   5 account id
--      the step's own
--      the ids of those due holds
-- Reply: packed values: code, now, outbox position, era, account record, reservation record or
--        false, then the step's own. NOT_LOADED and FULL stand alone; DUE brings the ids to ask with.

-- The moves of one account, as they are the book's in the domain.
local book = {}
local call, pack, decode, text = redis.call, cmsgpack.pack, cmsgpack.unpack, string.format
local window_ms, outbox_max, due_given = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local meta = call('HMGET', KEYS[5], 'tail', 'trimmed', 'epoch', 'server', 'era')
local closed = gate(meta[3], meta[4])
if closed then return closed end
local tail, trimmed, era = tonumber(meta[1]), tonumber(meta[2]), tonumber(meta[5])

local stored = call('GET', KEYS[1])
if not stored then return pack(NOT_LOADED) end
local account = decode(stored)
if account[A_FORMAT] ~= FORMAT then
  if account[A_FORMAT] == TOMBSTONE then return pack(NOT_LOADED) end
  return redis.error_reply('TOLLGATE account record of format ' .. text('%.0f', account[A_FORMAT]))
end
local grants = account[A_GRANTS]

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

-- Draws are flat: {grant, credits, grant, credits, …}.
function book.sum_draws(draws)
  local sum = 0
  for i = 2, #draws, 2 do sum = sum + draws[i] end
  return sum
end

function book.add_draw(draws, id, credits)
  if credits == 0 then return end
  for i = 1, #draws, 2 do
    if draws[i] == id then
      draws[i + 1] = draws[i + 1] + credits
      return
    end
  end
  draws[#draws + 1] = id
  draws[#draws + 1] = credits
end

function book.remaining(grant)
  local left = grant[G_AMOUNT] - grant[G_USED] - grant[G_HELD] - grant[G_EXPIRED]
  return left > 0 and left or 0
end

function book.has_ended(grant)
  return grant[G_VOIDED] or (grant[G_UNTIL] and grant[G_UNTIL] <= now)
end

function book.is_active(grant)
  return grant[G_FROM] <= now and not book.has_ended(grant)
end

function book.available()
  if account[A_DEBT] > 0 then return 0 end
  local sum = 0
  for i = 1, #grants do
    if book.is_active(grants[i]) then sum = sum + book.remaining(grants[i]) end
  end
  return sum
end

function book.plan_grant_id()
  return text('plan:%.0f', account[A_CYCLE])
end

function book.find_grant(id)
  for i = 1, #grants do
    if grants[i][G_ID] == id then return grants[i] end
  end
end

-- Takes up to `credits` out of the active grants, in order; `how` is G_HELD or G_USED.
function book.take(credits, how)
  local missing, draws = credits, {}
  for i = 1, #grants do
    if missing == 0 then break end
    local grant = grants[i]
    if book.is_active(grant) then
      local part = book.remaining(grant)
      if part > missing then part = missing end
      if part > 0 then
        grant[how] = grant[how] + part
        missing = missing - part
        draws[#draws + 1] = grant[G_ID]
        draws[#draws + 1] = part
      end
    end
  end
  return draws
end

-- How much of what is left of a grant must not be spent.
function book.surplus(grant)
  if book.has_ended(grant) then return book.remaining(grant) end
  if grant[G_ID] ~= book.plan_grant_id() then return 0 end
  local room = account[A_ALLOWANCE] - (grant[G_USED] + grant[G_HELD])
  if room < 0 then room = 0 end
  local over = book.remaining(grant) - room
  return over > 0 and over or 0
end

-- A move: {grant, amount, used, expired, voided at or false, the grant as it was made or false}.
function book.return_holds(holds)
  local moves = {}
  for i = 1, #holds, 2 do
    local grant, credits = book.find_grant(holds[i]), holds[i + 1]
    if grant then
      grant[G_HELD] = grant[G_HELD] - credits
      local lost = book.surplus(grant)
      if lost > credits then lost = credits end
      if lost > 0 then
        grant[G_EXPIRED] = grant[G_EXPIRED] + lost
        moves[#moves + 1] = {grant[G_ID], 0, 0, lost, false, false}
      end
    end
  end
  return moves
end

function book.keep_grants(is_kept)
  local kept = {}
  local plan = book.plan_grant_id()
  for i = 1, #grants do
    local grant = grants[i]
    if grant[G_HELD] > 0 or book.remaining(grant) > 0 or grant[G_ID] == plan or is_kept(grant) then
      kept[#kept + 1] = grant
    end
  end
  account[A_GRANTS], grants = kept, kept
end

function book.drop_ended()
  for i = 1, #grants do
    if book.has_ended(grants[i]) then
      return book.keep_grants(function(grant) return not book.has_ended(grant) end)
    end
  end
end

-- Appends a ledger entry with the account's next sequence. `about` says more of it: draws, debt
-- added, reservation, settlement, change, reason, actor.
function book.record(kind, moves, about)
  about = about or {}
  account[A_SEQUENCE] = account[A_SEQUENCE] + 1
  account[A_VERSION] = account[A_VERSION] + 1
  dirty = true
  entries[#entries + 1] = pack(FORMAT, ARGV[5], account[A_SEQUENCE], kind, now, book.available(),
    about.debt_added or 0, moves, about.draws or false, about.reservation or false,
    about.settlement or false, about.change or false, about.reason or '', about.actor or '',
    {unpack(account, A_STATUS, A_CHANGE)})
end

function book.record_expiry(moves)
  if #moves > 0 then book.record(EXPIRY, moves) end
end

function book.used_moves(draws)
  local moves = {}
  for i = 1, #draws, 2 do
    moves[#moves + 1] = {draws[i], 0, draws[i + 1], 0, false, false}
  end
  return moves
end

-- Debt is the first thing that spendable credits pay.
function book.repay_debt()
  if account[A_DEBT] == 0 then return end
  local draws = book.take(account[A_DEBT], G_USED)
  if #draws == 0 then return end
  local repaid = book.sum_draws(draws)
  account[A_DEBT] = account[A_DEBT] - repaid
  book.record(DEBT_REPAID, book.used_moves(draws), {debt_added = -repaid})
end

function book.expire_grants()
  local moves, found = {}, false
  for i = 1, #grants do
    local grant = grants[i]
    if book.has_ended(grant) then
      found = true
      local left = book.remaining(grant)
      if left > 0 then
        grant[G_EXPIRED] = grant[G_EXPIRED] + left
        moves[#moves + 1] = {grant[G_ID], 0, 0, left, false, false}
      end
    end
  end
  book.record_expiry(moves)
  if found then
    local before = #grants
    book.drop_ended()
    if #grants < before then dirty = true end
  end
end

function book.cycle_is_over()
  return account[A_STATUS] ~= CLOSED and now >= account[A_END]
end

-- Ends every transition that changed something.
function book.finish()
  book.repay_debt()
  book.drop_ended()
  account[A_VERSION] = account[A_VERSION] + 1
  dirty = true
end

-- A reservation that is settled to the end, without what only a further settlement would need:
-- what it was charged to is the ledger's. Nothing at the end is written out.
function book.final(known)
  local last, extensions = known[R_LAST] or {false, false, false, ''}, known[R_EXTENSIONS]
  local receipt = last[L_RECEIPT]
  while receipt and (receipt[#receipt] == 0 or receipt[#receipt] == false) do
    receipt[#receipt] = nil
  end
  local record = {FINAL, known[R_STATE], known[R_ORIGIN], known[R_ACTION], known[R_ASKED],
    known[R_VERSION], known[R_EXPIRES], known[R_CHARGED], known[R_RETURNED], last[L_REQUEST],
    receipt, #extensions > 0 and extensions, last[L_DENIAL], last[L_PRICE] ~= '' and last[L_PRICE]}
  for i = F_PRICE, F_REQUEST, -1 do
    if record[i] then break end
    record[i] = nil
  end
  return record
end

-- What `final` left, as far as a step asks for it: who answers of it gets the bytes themselves.
function book.reopen(record)
  local last = record[F_RECEIPT] and {record[F_REQUEST], record[F_RECEIPT]} or false
  return {FORMAT, record[R_STATE], record[R_ORIGIN], record[R_ACTION], record[R_ASKED],
    record[R_VERSION], 0, record[F_EXPIRES], false, record[F_CHARGED], 0, 0, 0,
    record[F_RETURNED], {}, {}, last, record[F_EXTENSIONS] or {}}
end

-- A reservation with what must be known to write it: {key, id, record, was open, is touched}.
function book.read(key, id)
  local bytes = call('GET', key)
  if not bytes then return nil end
  local known = decode(bytes)
  if known[R_FORMAT] == FINAL then known = book.reopen(known) end
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

function book.expire(held)
  local known = held.record
  local lost = book.return_holds(known[R_HOLDS])
  known[R_HOLDS], known[R_STATE], known[R_ENDED] = {}, EXPIRED, now
  expired_count = expired_count + 1
  book.check_in(held)
  book.record_expiry(lost)
end

function book.is_due(held)
  return held.record[R_STATE] == OPEN and held.record[R_EXPIRES] <= now
end

function book.expire_if_due(held)
  if held and book.is_due(held) then
    book.expire(held)
    book.finish()
  end
end

function book.is_touched(id)
  for i = 1, #touched do
    if touched[i].id == id then return true end
  end
  return false
end

-- Expires the holds that the step was given.
function book.expire_given()
  if used_given then return end
  used_given = true
  local before = expired_count
  local first_key, first_id = #KEYS - due_given, #ARGV - due_given
  for i = 1, due_given do
    local id = ARGV[first_id + i]
    local held = not book.is_touched(id) and book.read(KEYS[first_key + i], id)
    if held == false then
      -- The step's own reservation, which it has expired already.
    elseif not held or not held.was_open then
      -- A deadline without its hold: what evicted the record broke the promise of its key.
      stale[#stale + 1] = id
    elseif book.is_due(held) then
      book.expire(held)
    end
  end
  if expired_count > before then book.finish() end
end

function book.due_holds(max)
  return call('ZRANGEBYSCORE', KEYS[2], '-inf', text('%.0f', now), 'LIMIT', '0', text('%.0f', max))
end

-- Before a denial: due holds of this account must not cause it. True: ask again with `wanted`.
function book.reclaim()
  book.expire_given()
  if expired_count >= RECLAIM_MAX then return false end
  local due = book.due_holds(RECLAIM_MAX)
  if #due > expired_count + #stale then wanted = due end
  return wanted ~= nil
end

function book.status_denial(required)
  if account[A_STATUS] == ACTIVE then return nil end
  local reason = account[A_STATUS] == SUSPENDED and DENY_SUSPENDED or DENY_CLOSED
  return {reason, required, book.available()}
end

-- How many of `asked` credits there are, or nil and why there are not even `least`. Neither
-- counts where `wanted` is set.
function book.cover(asked, least)
  local denial = book.status_denial(least)
  if denial then return nil, denial end
  if asked == 0 then return 0 end
  local spendable = book.available()
  if spendable < asked then
    if book.reclaim() then return nil end
    spendable = book.available()
  end
  if spendable >= least then
    return spendable < asked and spendable or asked
  end
  local reason = DENY_INSUFFICIENT
  if account[A_DEBT] > 0 then
    reason = DENY_DEBT
  elseif spendable == 0 then
    reason = DENY_EXHAUSTED
  end
  return nil, {reason, least, spendable}
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
  local is_earlier = due < account[A_DUE]
  account[A_DUE] = due
  local bytes = pack(account)
  call('SET', KEYS[1], bytes)
  if is_earlier then call('ZADD', KEYS[3], text('%.0f', due), ARGV[5]) end
  local opened = 0
  for i = 1, #touched do
    local held = touched[i]
    local known, member = held.record, ARGV[5] .. '/' .. held.id
    local state, ended = known[R_STATE], known[R_ENDED]
    held.bytes = pack((state == COMMITTED or state == RELEASED) and book.final(known) or known)
    if state == OPEN then
      call('SET', held.key, held.bytes)
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
  for i = 1, #stale do call('ZREM', KEYS[2], stale[i]) end
  opened = opened - #stale
  if #entries > 0 then call('HSET', KEYS[5], 'tail', text('%.0f', tail)) end
  if opened ~= 0 then call('HINCRBY', KEYS[5], 'open', text('%.0f', opened)) end
  return bytes
end

function book.answer(code, held, ...)
  if wanted then return pack(DUE, wanted) end
  local bytes = book.flush()
  return pack(code, now, tail, era, bytes, held and (held.bytes or pack(held.record)) or false, ...)
end

-- Lets time act on the account before anything else does.
function book.advance()
  book.expire_grants()
  book.repay_debt()
end
