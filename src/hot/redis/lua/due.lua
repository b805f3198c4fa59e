-- Which accounts of a shard the sweeper must look at.
--
-- KEYS 1 due
-- ARGV 1 now in ms, or '' for the server's clock  2 the most accounts
-- Reply: now, then the account ids, earliest first
assert(#KEYS == 1 and #ARGV == 2, 'arity')

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now),
  'LIMIT', '0', ARGV[2])
return cmsgpack.pack(now, due)
