-- A reservation as it is stored, of an account that is loaded. Changes nothing: whoever reads it sees
-- whether it is due. A server that was replaced lacks what the other one has settled, so that it does
-- not answer, as with a step.
--
-- KEYS 1 account  2 reservation  3 meta
-- ARGV 1 now in ms, or '' for the server's clock
--      what known.lua takes off, last
-- Reply: NOT_LOADED, NO_ACCOUNT, or OK, now, outbox position, era and the reservation record or false
assert(#KEYS == 3 and #ARGV == 1, 'arity')

local meta = redis.call('HMGET', KEYS[3], 'epoch', 'server', 'tail', 'era', 'anew')
local closed = known_gate(meta[1], meta[2], meta[4], meta[3])
if closed then return closed end
local account = redis.call('GETRANGE', KEYS[1], 0, 1)
-- A record begins with its array's head and its format; a tombstone's head is a short array's.
if account == '' or string.byte(account, 2) == TOMBSTONE then return cmsgpack.pack(NOT_LOADED) end
if string.byte(account, 2) == ABSENT then return cmsgpack.pack(NO_ACCOUNT) end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local stored = redis.call('GET', KEYS[2])
local known = stored and meta[5] and cmsgpack.unpack(stored)
-- To a step it is forgotten (book.is_forgotten).
if known and known[R_FORMAT] == FORMAT and known[R_STATE] == EXPIRED and known[R_COMMITS] > 0
    and known[R_ENDED] <= tonumber(meta[5]) then
  stored = false
end
return cmsgpack.pack(OK, now, tonumber(meta[3]), tonumber(meta[4]), stored)
