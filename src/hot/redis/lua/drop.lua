-- Forgets reservations whose settlement the ledger never gets: who asks again settles again. Open
-- ones stay for `rebuild`.
--
-- KEYS 1 meta, then the records
-- ARGV 1 claim  2 the server's name
-- Reply: true
assert(#ARGV == 2, 'arity')

for i = 2, #KEYS do
  local stored = call('GET', KEYS[i])
  if stored and cmsgpack.unpack(stored)[R_STATE] ~= OPEN then call('DEL', KEYS[i]) end
end
return pack(true)
