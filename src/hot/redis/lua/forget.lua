-- Forgets settled reservations whose replay window is over, where their keys have no time to live.
--
-- KEYS 1 ended, then the records of the reservations
-- ARGV 1 the window's end in ms: what ended later stays, then each record's member of `ended`
-- Reply: how many were forgotten
assert(#KEYS == #ARGV, 'arity')

local forgotten, until_ms = 0, tonumber(ARGV[1])
for i = 2, #KEYS do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) <= until_ms then
    forgotten = forgotten + redis.call('DEL', KEYS[i])
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return cmsgpack.pack(forgotten)
