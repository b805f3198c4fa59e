-- What a shard has for the ledger, from where the ledger is. Takes nothing out.
--
-- KEYS 1 out  2 meta
-- ARGV 1 the most records
-- Reply: where the ledger is, epoch, era, then the records in order
assert(#KEYS == 2 and #ARGV == 1, 'arity')

local meta = redis.call('HMGET', KEYS[2], 'epoch', 'server', 'era', 'trimmed')
-- Asked a few times a second, and so the first to see that a living server follows another one.
server = ''
local closed = gate(meta[1], meta[2])
if closed then return closed end
local trimmed = tonumber(meta[4])
local from = string.format('(%.0f-0', trimmed)
local found = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[1])
local records = {}
for i = 1, #found do
  if found[i][1] ~= string.format('%.0f-0', trimmed + i) then
    return redis.error_reply('TOLLGATE the outbox has a gap before ' .. found[i][1])
  end
  records[i] = found[i][2][2]
end
return cmsgpack.pack(trimmed, tonumber(meta[1]), tonumber(meta[3]), records)
