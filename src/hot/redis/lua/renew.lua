-- Begins a new cycle, if the one that is named is still the account's and over (Book::renew).
--
-- ARGV 6 the cycle that ended: {index, start, end}  7 the one that begins  8 its plan  9 allowance
-- Reply: OK, whether it renewed or not
assert(#KEYS == 7 and #ARGV == 9, 'arity')

local ended, cycle, allowance = decode(ARGV[6]), decode(ARGV[7]), tonumber(ARGV[9])
local is_named = account[A_CYCLE] == ended[1] and account[A_START] == ended[2]
  and account[A_END] == ended[3]
local is_next = cycle[2] >= account[A_END] and now >= account[A_END]
if not is_named or not is_next or account[A_STATUS] == CLOSED then return book.answer(OK) end
book.unfold()
book.expire_grants()
book.drop_used_up()
account[A_CYCLE], account[A_START], account[A_END] = cycle[1], cycle[2], cycle[3]
account[A_PLAN], account[A_ALLOWANCE] = ARGV[8], allowance
account[A_NEXT_PLAN], account[A_NEXT_ALLOWANCE] = false, 0
local grant = {book.plan_grant_id(), PLAN, allowance, 0, 0, 0, DEFAULT_PRIORITY, cycle[2], cycle[3],
  false, ARGV[8]}
local moved = book.made(grant)
book.insert_grant(grant)
book.record(RENEWAL, {moved})
book.finish()
return book.answer(OK)
