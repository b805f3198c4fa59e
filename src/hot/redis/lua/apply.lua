-- Applies an administrative change, each number once and in order (src/domain/book/change.rs).
--
-- KEYS 8 for a refund only: the reservation that is refunded
-- ARGV 6 number  7 kind: CREATE, SET_STATUS, CHANGE_PLAN, GRANT, VOID or REFUND
--      8 the body: {grant}, {status, reason}, {plan, allowance, at renewal or 'auto'},
--        {grant, reason}, {grant id, reason} or
--        {reservation, {grant, credits, …}, of debt, reason, actor, refunded before or nothing}
-- Reply: OK and whether this call did it    CHANGE_GAP and the next number    CYCLE_ENDED
local kind, body = tonumber(ARGV[7]), decode(ARGV[8])
assert(#KEYS == (kind == REFUND and 8 or 7) and #ARGV == 8, 'arity')

function book.add_grant(grant)
  book.make_room()
  local moved = book.made(grant)
  book.insert_grant(grant)
  return ENTRY_GRANT, {moved}, {}
end

-- Takes back what is left of a grant; what is held of it stays until it is settled or returned.
function book.void(grant)
  if grant[G_VOIDED] then return nil end
  local left = book.remaining(grant)
  grant[G_EXPIRED], grant[G_VOIDED] = grant[G_EXPIRED] + left, now
  return {grant[G_ID], 0, 0, left, now, false}
end

function book.set_status(status)
  account[A_STATUS] = status
  local moves = {}
  if status == CLOSED then
    for i = 1, #grants do moves[#moves + 1] = book.void(grants[i]) end
  end
  return ENTRY_STATUS, moves, {reason = body[2]}
end

function book.change_plan(plan, allowance, at_renewal)
  if at_renewal == 'auto' then at_renewal = allowance < account[A_ALLOWANCE] end
  if at_renewal then
    local is_other = plan ~= account[A_PLAN]
    account[A_NEXT_PLAN] = is_other and plan
    account[A_NEXT_ALLOWANCE] = is_other and allowance or 0
    return PLAN_CHANGE, {}, {}
  end
  account[A_PLAN], account[A_ALLOWANCE] = plan, allowance
  account[A_NEXT_PLAN], account[A_NEXT_ALLOWANCE] = false, 0
  local grant, moves = book.find_grant(book.plan_grant_id()), {}
  if grant and not grant[G_VOIDED] then
    local spoken_for = grant[G_USED] + grant[G_HELD]
    local gone = spoken_for + grant[G_EXPIRED]
    -- What expired may have been as much as a grant can be.
    local amount = gone + math.min(math.max(allowance - spoken_for, 0), CREDITS_MAX - gone)
    moves[1] = {grant[G_ID], amount - grant[G_AMOUNT], 0, 0, false, false}
    grant[G_AMOUNT] = amount
  end
  return PLAN_CHANGE, moves, {}
end

function book.void_grant(id)
  local grant = book.find_grant(id)
  local moves = {}
  if grant then
    moves[1] = book.void(grant)
  else
    -- Used up or expired: nothing is left to take, but it was voided all the same.
    moves[1] = {id, 0, 0, 0, now, false}
  end
  return ENTRY_VOID, moves, {reason = body[2]}
end

-- Takes up to `credits` off some draws, last first, of one grant or of any; answers the rest.
function book.take_last(draws, credits, id)
  for i = #draws - 1, 1, -2 do
    if not id or draws[i] == id then
      local part = math.min(draws[i + 1], credits)
      draws[i + 1] = draws[i + 1] - part
      credits = credits - part
    end
  end
  return credits
end

-- What of a refund a correction has not given back already: that was what was charged last.
function book.not_corrected(held, parts, of_debt, refunded)
  local last = refunded and held and held.record[R_LAST]
  if not last or (last[L_RECEIPT][C_CORRECTED] or 0) == 0 then return parts, of_debt end
  local excess, left = of_debt - math.max(held.record[R_CHARGED] - refunded, 0), {}
  for i = 2, #parts, 2 do excess = excess + parts[i] end
  excess = math.max(excess, 0)
  local of_excess = math.min(of_debt, excess)
  excess = excess - of_excess
  for i = 1, #parts, 2 do
    local gone = math.min(parts[i + 1], excess)
    excess = excess - gone
    if gone < parts[i + 1] then
      left[#left + 1] = parts[i]
      left[#left + 1] = parts[i + 1] - gone
    end
  end
  return left, of_debt - of_excess
end

-- What a refund gave back is not given back again by a later correction.
function book.take_off_charges(held, parts, of_debt)
  if not held then return end
  local known, charges = held.record, {}
  local off = math.min(of_debt, known[R_DEBT])
  known[R_DEBT] = known[R_DEBT] - off
  local left = of_debt - off
  for i = 1, #parts, 2 do
    left = left + book.take_last(known[R_CHARGES], parts[i + 1], parts[i][G_ID])
  end
  left = book.take_last(known[R_CHARGES], left)
  known[R_DEBT] = known[R_DEBT] - math.min(left, known[R_DEBT])
  for i = 1, #known[R_CHARGES], 2 do
    if known[R_CHARGES][i + 1] > 0 then
      charges[#charges + 1] = known[R_CHARGES][i]
      charges[#charges + 1] = known[R_CHARGES][i + 1]
    end
  end
  known[R_CHARGES] = charges
  -- One that is settled to the end keeps its record, and its replay window, as they are.
  if known[R_STATE] == OPEN or known[R_STATE] == EXPIRED then book.check_in(held) end
end

function book.refund(parts, of_debt, reason, refunded)
  local held, draws, moves, elsewhere = book.read(KEYS[8], body[1]), {}, {}, 0
  parts, of_debt = book.not_corrected(held, parts, of_debt, refunded)
  for i = 1, #parts, 2 do
    local part, credits = parts[i], parts[i + 1]
    if not book.find_grant(part[G_ID]) and not book.has_ended(part) then
      -- It was dropped as used up: put back, so that it can be refunded.
      local grant = {unpack(part)}
      grant[G_HELD], grant[G_USED] = 0, part[G_AMOUNT] - part[G_EXPIRED]
      book.insert_grant(grant)
    end
    local moved = book.uncharge(part[G_ID], credits)
    if moved then
      book.add_draw(draws, part[G_ID], credits)
      moves[#moves + 1] = moved
    else
      elsewhere = elsewhere + credits
    end
  end
  local off_debt = math.min(of_debt, account[A_DEBT])
  account[A_DEBT] = account[A_DEBT] - off_debt
  elsewhere = elsewhere + of_debt - off_debt
  if elsewhere > 0 then
    local id = 'refund:' .. ARGV[6]
    book.add_draw(draws, id, elsewhere)
    moves[#moves + 1] = book.add_adjustment(id, elsewhere, reason == '' and 'refund' or reason)
  end
  book.take_off_charges(held, parts, of_debt)
  return ENTRY_REFUND, moves, {debt_added = -off_debt, draws = #draws > 0 and draws or false,
    reason = reason, actor = body[5], reservation = body[1]}
end

local number, due_number = tonumber(ARGV[6]), account[A_CHANGE] + 1
if number > due_number then return book.answer(CHANGE_GAP, nil, due_number) end
-- An account that is not there yet has no cycle that could be over.
if due_number > 1 then
  local hindrance = book.hindrance()
  if hindrance then return book.answer(hindrance) end
  book.advance()
end
if number < due_number then return book.answer(OK, nil, false) end
account[A_CHANGE] = number
book.unfold()
local entry_kind, moves, about
if kind == CREATE then
  entry_kind, moves, about = book.add_grant(body[1])
elseif kind == SET_STATUS then
  entry_kind, moves, about = book.set_status(body[1])
elseif kind == CHANGE_PLAN then
  entry_kind, moves, about = book.change_plan(body[1], body[2], body[3])
elseif kind == GRANT then
  entry_kind, moves, about = book.add_grant(body[1])
  about.reason = body[2]
elseif kind == VOID then
  entry_kind, moves, about = book.void_grant(body[1])
else
  entry_kind, moves, about = book.refund(body[2], body[3], body[4], body[6])
end
about.change = number
book.record(entry_kind, moves, about)
book.finish()
return book.answer(OK, nil, true)
