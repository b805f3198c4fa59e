-- What a shard has for the ledger, from where the ledger is. Takes nothing out.
--
-- KEYS 1 out  2 meta
-- ARGV 1 the most records
-- Reply: where the ledger is, then the records in order
assert(#KEYS == 2 and #ARGV == 1, 'arity')

local trimmed = tonumber(redis.call('HGET', KEYS[2], 'trimmed') or '0')
local from = string.format('(%.0f-0', trimmed)
local found = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[1])
local records = {}
for i = 1, #found do
  if found[i][1] ~= string.format('%.0f-0', trimmed + i) then
    return redis.error_reply('TOLLGATE the outbox has a gap before ' .. found[i][1])
  end
  records[i] = found[i][2][2]
end
return cmsgpack.pack(trimmed, records)
