-- An account with its open holds, as they are at one instant.
--
-- KEYS 1 account  2 deadlines  3 meta  4 packed grants, then the records of the holds
-- ARGV the ids of the holds
-- Reply: the account record or false where it is not loaded or its holds are others by now,
--        outbox position, packed grants or false, then the hold records
assert(#KEYS == 4 + #ARGV, 'arity')

local meta = redis.call('HMGET', KEYS[3], 'epoch', 'server', 'tail')
local closed = gate(meta[1], meta[2])
if closed then return closed end
local account = redis.call('GET', KEYS[1])
if not account or string.byte(account, 2) >= ABSENT
    or redis.call('ZCARD', KEYS[2]) ~= #ARGV then
  return cmsgpack.pack(false)
end
local holds = {}
for i = 1, #ARGV do
  holds[i] = redis.call('GET', KEYS[4 + i])
  if not holds[i] or not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    return cmsgpack.pack(false)
  end
end
return cmsgpack.pack(account, tonumber(meta[3]), redis.call('GET', KEYS[4]), holds)
