-- The sweeper's visit: expires due holds of one account and says when to come again.
--
-- ARGV 6 the most holds to expire  7 how long an account is idle before it may go, in ms; 0: never
-- Reply: OK, how many expired and whether the account is idle
--        DUE with the ids of the holds to ask again with
assert(#KEYS == 7 + due_given and #ARGV == 7 + due_given, 'arity')

local max, idle_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
if due_given == 0 then
  local due = book.due_holds(max)
  if #due > 0 then return pack(DUE, due) end
end
book.notice_changes()
book.expire_given()
local bytes = book.flush()
-- The score may be older than the earliest deadline, never younger: settling does not move it.
local first = call('ZRANGE', KEYS[2], '0', '0', 'WITHSCORES')
local again = first[2] and tonumber(first[2]) or NEVER
local is_idle = false
if idle_ms > 0 then
  is_idle = not first[1] and account[A_SEEN] + idle_ms <= now
  again = math.min(again, math.max(account[A_SEEN], now - idle_ms) + idle_ms)
end
if again ~= account[A_DUE] then
  -- Nothing else of what is stored: time may have acted on the account here only to be looked at.
  local written = decode(bytes)
  written[A_DUE] = again
  bytes = pack(written)
  call('SET', KEYS[1], bytes)
  call('ZADD', KEYS[3], text('%.0f', again), ARGV[5])
end
return pack(OK, now, tail, era, bytes, false, folded or false, expired_count, is_idle)
