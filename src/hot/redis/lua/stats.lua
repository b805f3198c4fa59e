-- How much a shard has on its hands.
--
-- KEYS 1 due  2 out  3 meta
-- Reply: accounts, open holds, outbox records, when the sweeper must look next (-1: never)
assert(#KEYS == 3 and #ARGV == 0, 'arity')

-- A version before this one could count an end twice.
local open = math.max(tonumber(redis.call('HGET', KEYS[3], 'open') or '0'), 0)
local first = redis.call('ZRANGE', KEYS[1], '0', '0', 'WITHSCORES')
return cmsgpack.pack(redis.call('ZCARD', KEYS[1]), open, redis.call('XLEN', KEYS[2]),
  tonumber(first[2] or '-1'))
