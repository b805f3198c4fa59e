-- Forgets settled reservations whose replay window is over, where their keys have no time to live.
--
-- KEYS 1 ended  2 meta, then the records of the reservations
-- ARGV 1 the window's end in ms: what ended later stays, then each record's member of `ended`
-- Reply: how many were forgotten
assert(#KEYS == 1 + #ARGV, 'arity')

local meta = redis.call('HMGET', KEYS[2], 'epoch', 'server')
local closed = gate(meta[1], meta[2])
if closed then return closed end

local forgotten, until_ms = 0, tonumber(ARGV[1])
for i = 2, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) <= until_ms then
    forgotten = forgotten + redis.call('DEL', KEYS[i + 1])
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return cmsgpack.pack(forgotten)
