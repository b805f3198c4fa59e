-- Puts an account in as the ledger has it, with those of its open holds that the ledger does not
-- show as settled, as far as its grants still cover them. One that was charged already goes where
-- the account lacked a change: that may have been a refund of it. Never adds to what is there, so
-- it can be repeated.
--
-- KEYS 1 meta  2 account  3 deadlines  4 due  5 packed grants, then the records of the
--      holds, earliest first
-- ARGV 1 claim  2 the server's name  3 account id  4 account record, or '' where there is none
--      then for each hold: its id, and how many of its commits the ledger has, -1: it has ended
-- Reply: the ids of the holds that were dropped
assert(#ARGV == 4 + 2 * (#KEYS - 5), 'arity')

local account = ARGV[4] ~= '' and cmsgpack.unpack(ARGV[4])
local grants = {}
if account then
  for i = 1, #account[A_GRANTS] do
    local grant = account[A_GRANTS][i]
    grants[grant[G_ID]] = grant
  end
end

-- Whether the grants cover a hold. Its draws are of different grants.
local function is_covered(draws)
  for i = 1, #draws, 2 do
    local grant = grants[draws[i]]
    local left = grant and grant[G_AMOUNT] - grant[G_USED] - grant[G_HELD] - grant[G_EXPIRED]
    if not left or left < draws[i + 1] then return false end
  end
  return true
end

local before = call('GET', KEYS[2])
local was = before and cmsgpack.unpack(before)
if was and was[A_FORMAT] ~= FORMAT then was = nil end

-- Whether the ledger has what a hold was charged, and nothing else of it.
local function is_as_known(known, commits)
  local charged = known[R_COMMITS] or 0
  if charged ~= commits then return false end
  return charged == 0 or (was and was[A_CHANGE] == account[A_CHANGE])
end

local dropped, gone = {}, 0
for i = 6, #KEYS do
  local id, commits = ARGV[2 * i - 7], tonumber(ARGV[2 * i - 6])
  local stored = call('GET', KEYS[i])
  local known = stored and cmsgpack.unpack(stored)
  local is_open = known and known[R_FORMAT] == FORMAT and known[R_STATE] == OPEN
  if is_open and account and is_as_known(known, commits) and is_covered(known[R_HOLDS]) then
    local draws = known[R_HOLDS]
    for d = 1, #draws, 2 do
      local grant = grants[draws[d]]
      grant[G_HELD] = grant[G_HELD] + draws[d + 1]
    end
  else
    if is_open then
      call('DEL', KEYS[i])
      dropped[#dropped + 1] = id
    end
    call('ZREM', KEYS[3], id)
    gone = gone + 1
  end
end
if gone > 0 then call('HINCRBY', KEYS[1], 'open', text('%.0f', -gone)) end

call('DEL', KEYS[5])
if not account then
  call('DEL', KEYS[2])
  call('ZREM', KEYS[4], ARGV[3])
  return pack(dropped)
end
-- Versions continue above any that was answered before; the score in `due` stays. What expired
-- before the shard began anew did so by another server's clock, which may be ahead of this one's.
if was then
  account[A_VERSION] = math.max(account[A_VERSION], was[A_VERSION] + 1)
  local anew = tonumber(call('HGET', KEYS[1], 'anew') or '0')
  if was[A_SEEN] > anew then call('HSET', KEYS[1], 'anew', text('%.0f', was[A_SEEN])) end
end
account[A_VERSION] = math.max(account[A_VERSION], time_ms() * 1000)
account[A_DUE] = tonumber(call('ZSCORE', KEYS[4], ARGV[3]))
call('SET', KEYS[2], pack(account))
return pack(dropped)
