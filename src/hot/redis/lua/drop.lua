-- Forgets reservations whose settlement the ledger never gets: who asks again settles again. Open
-- ones stay for `rebuild`, which drops them: what they were charged is not what the ledger has, even
-- where it has as many commits of them.
--
-- KEYS 1 meta, then the records
-- ARGV 1 claim  2 the server's name
-- Reply: true
assert(#ARGV == 2, 'arity')

for i = 2, #KEYS do
  local stored = call('GET', KEYS[i])
  local known = stored and cmsgpack.unpack(stored)
  if known and known[R_STATE] == OPEN then
    known[R_COMMITS] = LOST
    call('SET', KEYS[i], pack(known))
  elseif known then
    call('DEL', KEYS[i])
  end
end
return pack(true)
