-- Settles an action whose cost is known at once, without a hold (src/domain/book/commit.rs).
--
-- KEYS 8 the reservation that remembers the charge
-- ARGV 6 charge id  7 the request, as a commit's  8 credits  9 '1': charge even what is not there
--      10 price, or ''  11 action  12 what was asked, as it was asked  13 rate card version
-- Reply: OK with the reservation
--        KNOWN with the reservation that has this id already
--        DENIED with {reason, required, available}    OUT_OF_RANGE    CYCLE_ENDED
assert(#KEYS == 8 + due_given and #ARGV == 13 + due_given, 'arity')

local hindrance = book.hindrance()
if hindrance then return book.answer(hindrance) end
book.advance()
local before = book.read(KEYS[8], ARGV[6])
if before then
  book.expire_if_due(before)
  return book.answer(KNOWN, before)
end
local credits = tonumber(ARGV[8])
if account[A_DEBT] + credits > CREDITS_MAX then return book.answer(OUT_OF_RANGE) end
local granted, denial = book.cover(credits, credits)
if wanted then return book.answer(DUE) end
if not granted and (ARGV[9] ~= '1' or book.status_denial(credits)) then
  return book.answer(DENIED, nil, denial)
end
local known = book.complete({FORMAT, COMMITTED, BY_CHARGE, ARGV[11], ARGV[12], ARGV[13], 0, now, {}})
known[R_ENDED] = now
local held = {key = KEYS[8], id = ARGV[6], record = known}
local receipt, moves, debt_added = book.pay(known, credits)
if wanted then return book.answer(DUE) end
-- Nothing was held: only what the balance did not cover counts as overage.
receipt[C_OVERAGE] = receipt[C_DEBT] + receipt[C_WRITTEN_OFF]
book.record_settlement(held, receipt, 0, moves, debt_added, ARGV[7], true, ARGV[10])
known[R_LAST] = {'', receipt, false, ARGV[10]}
book.check_in(held)
book.finish()
return book.answer(OK, held)
