-- Forgets what the ledger has, of the epoch in which the ledger has it.
--
-- KEYS 1 out  2 meta
-- ARGV 1 the position up to which the ledger has everything  2 epoch
-- Reply: where the ledger is now, era
assert(#KEYS == 2 and #ARGV == 2, 'arity')

local meta = redis.call('HMGET', KEYS[2], 'epoch', 'server', 'tail', 'trimmed', 'era')
-- A living server that follows another one must not lose what the ledger has of that one only.
server = ''
local closed = gate(meta[1], meta[2])
if closed then return closed end
local tail, trimmed, to = tonumber(meta[3]), tonumber(meta[4]), tonumber(ARGV[1])
if meta[1] == ARGV[2] and to > trimmed and to <= tail then
  redis.call('HSET', KEYS[2], 'trimmed', string.format('%.0f', to))
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', to + 1))
  trimmed = to
end
return cmsgpack.pack(trimmed, tonumber(meta[5]))
