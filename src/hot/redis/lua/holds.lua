-- Holds and what comes back of them (src/domain/account.rs).

function book.find_grant(id)
  for i = 1, #grants do
    if grants[i][G_ID] == id then return grants[i] end
  end
  if account[A_FOLD] then
    book.unfold()
    return book.find_grant(id)
  end
end

-- What was only reserved, with what a settlement or an extension begins from.
function book.complete(known)
  known[R_ENDED] = false
  for i = R_CHARGED, R_RETURNED do known[i] = 0 end
  known[R_CHARGES], known[R_LAST], known[R_EXTENSIONS] = {}, false, {}
  return known
end

function book.plan_grant_id()
  return text('plan:%.0f', account[A_CYCLE])
end

-- How much of what is left of a grant must not be spent.
function book.surplus(grant)
  if book.has_ended(grant) then return book.remaining(grant) end
  if grant[G_ID] ~= book.plan_grant_id() then return 0 end
  local room = account[A_ALLOWANCE] - (grant[G_USED] + grant[G_HELD])
  if room < 0 then room = 0 end
  local over = book.remaining(grant) - room
  return over > 0 and over or 0
end

-- Lets expire what must not be spent of credits that have come back to a grant.
function book.expire_surplus(grant, credits, moves)
  local lost = book.surplus(grant)
  if lost > credits then lost = credits end
  if lost > 0 then
    grant[G_EXPIRED] = grant[G_EXPIRED] + lost
    moves[#moves + 1] = {grant[G_ID], 0, 0, lost, false, false}
  end
end

-- A move: {grant, amount, used, expired, voided at or false, the grant as it was made or false}.
function book.return_holds(holds, moves)
  moves = moves or {}
  for i = 1, #holds, 2 do
    local grant, credits = book.find_grant(holds[i]), holds[i + 1]
    if grant then
      grant[G_HELD] = grant[G_HELD] - credits
      book.expire_surplus(grant, credits, moves)
    end
  end
  return moves
end

function book.record_expiry(moves)
  if #moves > 0 then book.record(EXPIRY, moves) end
end

function book.is_due(held)
  return held.record[R_STATE] == OPEN and held.record[R_EXPIRES] <= now
end

function book.expire_if_due(held)
  if held and book.is_due(held) then
    book.expire(held)
    book.finish()
  end
end
