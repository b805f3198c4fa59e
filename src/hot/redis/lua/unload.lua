-- Drops an account that nobody needs: no open holds, and nothing that the ledger does not have.
--
-- ARGV 6 how long a stale load is refused, in ms  7 how long it must have been idle, in ms
-- Reply: OK and whether it is gone
assert(#KEYS == 7 and #ARGV == 7, 'arity')

local is_idle = account[A_SEEN] + tonumber(ARGV[7]) <= now
if not is_idle or account[A_MARK] > trimmed or call('EXISTS', KEYS[2]) == 1 then
  return pack(OK, now, tail, era, stored, false, false, false)
end
call('SET', KEYS[1], pack({TOMBSTONE, account[A_SEQUENCE], account[A_VERSION]}), 'PX', ARGV[6])
call('DEL', KEYS[7])
call('ZREM', KEYS[3], ARGV[5])
return pack(OK, now, tail, era, stored, false, false, true)
