-- Forgets what the ledger has, or begins where it is: `tail` is set where the shard has none.
--
-- KEYS 1 out  2 meta
-- ARGV 1 the position up to which the ledger has everything  2 '1': a start
-- Reply: where the ledger is now
assert(#KEYS == 2 and #ARGV == 2, 'arity')

local meta = redis.call('HMGET', KEYS[2], 'tail', 'trimmed')
local tail, trimmed, to = tonumber(meta[1] or '0'), tonumber(meta[2] or '0'), tonumber(ARGV[1])
if ARGV[2] == '1' then
  if tail > 0 then return cmsgpack.pack(trimmed) end
  tail = to
  redis.call('HSET', KEYS[2], 'tail', ARGV[1])
end
to = math.min(to, tail)
if to > trimmed then
  redis.call('HSET', KEYS[2], 'trimmed', string.format('%.0f', to))
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', to + 1))
  trimmed = to
end
return cmsgpack.pack(trimmed)
