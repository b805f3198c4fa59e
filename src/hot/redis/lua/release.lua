-- A hold is given back, since the action did not run (src/domain/book/release.rs).
--
-- KEYS 8 the reservation
-- ARGV 6 reservation id
-- Reply: OK with the reservation and how much was returned
--        KNOWN with the reservation, settled before    NOT_FOUND    CYCLE_ENDED
assert(#KEYS == 8 + due_given and #ARGV == 6 + due_given, 'arity')

local hindrance = book.hindrance()
if hindrance then return book.answer(hindrance) end
book.advance()
local held = book.read(KEYS[8], ARGV[6])
if not held then return book.answer(NOT_FOUND) end
book.expire_if_due(held)
local known = held.record
if known[R_STATE] == COMMITTED or known[R_STATE] == RELEASED then
  return book.answer(KNOWN, held)
end
local holds = known[R_HOLDS]
local lost = book.return_holds(holds)
known[R_STATE] = known[R_COMMITS] > 0 and COMMITTED or RELEASED
known[R_HOLDS], known[R_ENDED] = {}, now
known[R_RETURNED] = math.min(book.sum_draws(holds), CREDITS_MAX)
book.check_in(held)
book.record_expiry(lost)
book.finish()
return book.answer(OK, held)
