-- An account as it is at one instant, with some of its open holds.
--
-- KEYS 1 account  2 deadlines  3 meta  4 packed grants, then the records of the holds
-- ARGV the ids of the holds
-- Reply: the account record, or false where it is not loaded, packed grants or false, how many
--        holds are open, then the hold records, false for what is not open any more
assert(#KEYS == 4 + #ARGV, 'arity')

local meta = redis.call('HMGET', KEYS[3], 'epoch', 'server')
local closed = gate(meta[1], meta[2])
if closed then return closed end
local account = redis.call('GET', KEYS[1])
-- What is too short for a record is none, and for whoever reads it to say so.
if not account or (string.byte(account, 2) or 0) >= ABSENT then return cmsgpack.pack(false) end
local holds = {}
for i = 1, #ARGV do
  holds[i] = redis.call('ZSCORE', KEYS[2], ARGV[i]) and redis.call('GET', KEYS[4 + i])
end
return cmsgpack.pack(account, redis.call('GET', KEYS[4]), redis.call('ZCARD', KEYS[2]), holds)
