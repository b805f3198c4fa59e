-- Settles an action whose cost is known at once, without a hold (src/domain/book/commit.rs).
--
-- KEYS 7 the reservation that remembers the charge
-- ARGV 6 charge id  7 the request, as a commit's  8 credits  9 '1': charge even what is not there
--      10 price, or ''  11 action  12 what was asked, as it was asked  13 rate card version
-- Reply: OK with the reservation
--        KNOWN with the reservation that has this id already
--        DENIED with {reason, required, available}    OUT_OF_RANGE    CYCLE_ENDED
assert(#KEYS == 7 + due_given and #ARGV == 13 + due_given, 'arity')

if cycle_is_over() then return answer(CYCLE_ENDED) end
advance()
local before = read(KEYS[7], ARGV[6])
if before then
  expire_if_due(before)
  return answer(KNOWN, before)
end
local credits = tonumber(ARGV[8])
if account[A_DEBT] + credits > CREDITS_MAX then return answer(OUT_OF_RANGE) end
local granted, denial = cover(credits, credits)
if wanted then return answer(DUE) end
if not granted and (ARGV[9] ~= '1' or status_denial(credits)) then
  return answer(DENIED, nil, denial)
end
local held = {key = KEYS[7], id = ARGV[6], record = {FORMAT, COMMITTED, BY_CHARGE, ARGV[11],
  ARGV[12], ARGV[13], 0, now, now, 0, 0, 0, 0, 0, {}, {}, false, {}}}
local known = held.record
local receipt, moves, debt_added = pay(known, credits)
if wanted then return answer(DUE) end
-- Nothing was held: only what the balance did not cover counts as overage.
receipt[C_OVERAGE] = receipt[C_DEBT] + receipt[C_WRITTEN_OFF]
record_settlement(held, receipt, 0, moves, debt_added, ARGV[7], true, ARGV[10])
known[R_LAST] = {'', receipt, false, ARGV[10]}
check_in(held)
finish()
return answer(OK, held)
