-- At which sequence some accounts are, and which outbox position their newest entry has.
--
-- KEYS 1 meta, then the accounts
-- ARGV 1 claim  2 the server's name
-- Reply: sequence and position of each account, -1 and -1 where there is none
assert(#ARGV == 2, 'arity')

local found = {}
for i = 2, #KEYS do
  local stored = call('GET', KEYS[i])
  local account = stored and cmsgpack.unpack(stored)
  if account and account[A_FORMAT] == FORMAT then
    found[#found + 1] = account[A_SEQUENCE]
    found[#found + 1] = account[A_MARK]
  else
    found[#found + 1] = -1
    found[#found + 1] = -1
  end
end
return pack(found)
