-- Settles cumulative usage; never refused for want of credits (src/domain/book/commit.rs).
--
-- KEYS 8 the reservation
-- ARGV 6 reservation id  7 the request  8 credits: the price of the whole
--      9 '1' where it was priced for a reservation that is known  10 price, or ''
--      11 '1': the request keeps it open  12 what the request holds next
--      where it is not known: 13 action  14 the amount  15 rate card version  16 ttl in ms
--      where it is known: 13 and 15 as well, where they are only remembered and must be checked
-- Reply: OK with the reservation, and why the next hold was denied or false
--        KNOWN with the reservation: there is nothing to settle, or it takes no commit
--        REPRICE    OUT_OF_RANGE    CYCLE_ENDED
assert(#KEYS == 8 + due_given and #ARGV == 16 + due_given, 'arity')

local hindrance = book.hindrance()
if hindrance then return book.answer(hindrance) end
book.advance()
local held = book.read(KEYS[8], ARGV[6])
book.expire_if_due(held)
local is_known = ARGV[9] == '1'
if (held ~= nil) ~= is_known then return book.answer(REPRICE) end
if is_known and ARGV[13] ~= ''
    and (held.record[R_ACTION] ~= ARGV[13] or held.record[R_VERSION] ~= ARGV[15]) then
  return book.answer(REPRICE)
end
local target, keep_open, next_hold = tonumber(ARGV[8]), ARGV[11] == '1', tonumber(ARGV[12])
local charged = 0
if held then
  local known = held.record
  local last, state = known[R_LAST], known[R_STATE]
  if state == RELEASED or known[R_ORIGIN] == BY_CHARGE then return book.answer(KNOWN, held) end
  if last then
    local is_answered = last[L_REQUEST] == ARGV[7] or state == COMMITTED
    if is_answered or (keep_open
        and book.is_overtaken(decode(ARGV[7])[Q_AMOUNT], decode(last[L_REQUEST])[Q_AMOUNT])) then
      return book.answer(KNOWN, held)
    end
  end
  charged = known[R_CHARGED]
end
if account[A_DEBT] + math.max(target - charged, 0) > CREDITS_MAX then
  return book.answer(OUT_OF_RANGE)
end
local is_late = not held or held.record[R_STATE] == EXPIRED
if not held then
  local ttl_ms = tonumber(ARGV[16])
  held = {key = KEYS[8], id = ARGV[6], record = book.complete({FORMAT, OPEN, BY_COMMIT, ARGV[13],
    ARGV[14], ARGV[15], ttl_ms, now + ttl_ms, {}})}
end
local known = held.record
local held_before = math.min(book.sum_draws(known[R_HOLDS]), CREDITS_MAX)
local receipt, moves, debt_added, lost
if target < known[R_CHARGED] and not keep_open then
  receipt, moves, debt_added, lost = book.give_back(known, known[R_CHARGED] - target)
else
  receipt, moves, debt_added = book.pay(known, math.max(target - known[R_CHARGED], 0))
  if wanted then return book.answer(DUE) end
end
receipt[C_LATE] = is_late
if not keep_open or next_hold > 0 then
  local rest = known[R_HOLDS]
  known[R_HOLDS] = {}
  receipt[C_RETURNED] = math.min(book.sum_draws(rest), CREDITS_MAX)
  lost = book.return_holds(rest, lost)
end
book.record_settlement(held, receipt, held_before, moves, debt_added, ARGV[7], not keep_open,
  ARGV[10])
book.record_expiry(lost or {})
book.finish()
local denial
if keep_open and next_hold > 0 then
  local granted
  granted, denial = book.cover(next_hold, next_hold)
  if wanted then return book.answer(DUE) end
  if granted then
    local draws = book.take(granted, G_HELD)
    for i = 1, #draws, 2 do book.add_draw(known[R_HOLDS], draws[i], draws[i + 1]) end
    account[A_VERSION] = account[A_VERSION] + 1
  end
end
known[R_LAST] = {ARGV[7], receipt, denial or false, ''}
if keep_open then
  known[R_STATE], known[R_ENDED] = OPEN, false
  known[R_EXPIRES] = math.max(known[R_EXPIRES], now + known[R_TTL])
else
  known[R_STATE], known[R_ENDED], known[R_RETURNED] = COMMITTED, now, receipt[C_RETURNED]
end
book.check_in(held)
return book.answer(OK, held, denial or false)
