-- A hold is given back, since the action did not run (src/domain/book/release.rs).
--
-- KEYS 7 the reservation
-- ARGV 6 reservation id
-- Reply: OK with the reservation and how much was returned
--        KNOWN with the reservation, settled before    NOT_FOUND    CYCLE_ENDED
assert(#KEYS == 7 + due_given and #ARGV == 6 + due_given, 'arity')

if cycle_is_over() then return answer(CYCLE_ENDED) end
advance()
local held = read(KEYS[7], ARGV[6])
if not held then return answer(NOT_FOUND) end
expire_if_due(held)
local known = held.record
if known[R_STATE] == COMMITTED or known[R_STATE] == RELEASED then return answer(KNOWN, held) end
local holds = known[R_HOLDS]
local lost = return_holds(holds)
known[R_STATE] = known[R_COMMITS] > 0 and COMMITTED or RELEASED
known[R_HOLDS], known[R_RETURNED], known[R_ENDED] = {}, sum_draws(holds), now
check_in(held)
record_expiry(lost)
finish()
return answer(OK, held)
