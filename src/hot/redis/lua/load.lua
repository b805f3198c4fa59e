-- Puts an account in, unless it is there. What was unloaded since the ledger was read is not put
-- back from an older state: the tombstone remembers the sequence for a while. Nor is what was read
-- before the shard was verified anew.
--
-- KEYS 1 account  2 due  3 meta
-- ARGV 1 now in ms, or '' for the server's clock  2 account id  3 the account record
--      4 how long an account is idle before it may go, in ms; 0: never
--      5 the era of the shard before the ledger was read
-- Reply: whether it was put in
assert(#KEYS == 3 and #ARGV == 5, 'arity')

local meta = redis.call('HMGET', KEYS[3], 'epoch', 'server', 'era')
local closed = gate(meta[1], meta[2])
if closed then return closed end
if meta[3] ~= ARGV[5] then return cmsgpack.pack(false) end

local account = cmsgpack.unpack(ARGV[3])
local stored = redis.call('GET', KEYS[1])
if stored then
  local known = cmsgpack.unpack(stored)
  if known[1] == TOMBSTONE and known[2] <= account[A_SEQUENCE] then
    account[A_VERSION] = math.max(account[A_VERSION], known[3])
  elseif known[1] ~= ABSENT then
    return cmsgpack.pack(false)
  end
end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
-- Versions continue above any that was answered before: they start from the clock.
account[A_VERSION] = math.max(account[A_VERSION], now * 1000)
local idle_ms = tonumber(ARGV[4])
account[A_DUE] = idle_ms > 0 and now + idle_ms or NEVER
redis.call('SET', KEYS[1], cmsgpack.pack(account))
redis.call('ZADD', KEYS[2], string.format('%.0f', account[A_DUE]), ARGV[2])
return cmsgpack.pack(true)
