-- A reservation as it is, of an account that is loaded. Changes nothing.
--
-- KEYS 1 account  2 reservation  3 meta
-- Reply: NOT_LOADED, NO_ACCOUNT, or OK, outbox position and the reservation record or false
assert(#KEYS == 3 and #ARGV == 0, 'arity')

local account = redis.call('GETRANGE', KEYS[1], 0, 1)
-- A record begins with its array's head and its format; a tombstone's head is a short array's.
if account == '' or string.byte(account, 2) == TOMBSTONE then return cmsgpack.pack(NOT_LOADED) end
if string.byte(account, 2) == ABSENT then return cmsgpack.pack(NO_ACCOUNT) end
local position = tonumber(redis.call('HGET', KEYS[3], 'tail') or '0')
return cmsgpack.pack(OK, position, redis.call('GET', KEYS[2]))
