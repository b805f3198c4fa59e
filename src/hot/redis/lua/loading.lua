-- Which era a shard has, before the ledger is read for one of its accounts.
--
-- KEYS 1 meta
-- ARGV 1 now in ms, or '' for the server's clock
-- Reply: now, era
assert(#KEYS == 1 and #ARGV == 1, 'arity')

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'server', 'era')
local closed = gate(meta[1], meta[2])
if closed then return closed end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
return cmsgpack.pack(now, tonumber(meta[3]))
