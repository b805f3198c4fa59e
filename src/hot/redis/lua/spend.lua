-- Credits that are set aside or charged (src/domain/book.rs, src/domain/account.rs).

-- How many of `asked` credits there are, or nil and why there are not even `least`. Neither
-- counts where `wanted` is set.
function book.cover(asked, least)
  if account[A_STATUS] ~= ACTIVE then return nil, book.status_denial(least) end
  if asked == 0 then return 0 end
  local spendable = book.available()
  if spendable < asked then
    if book.reclaim() then return nil end
    spendable = book.available()
  end
  if spendable >= least then
    return spendable < asked and spendable or asked
  end
  local reason = DENY_INSUFFICIENT
  if account[A_DEBT] > 0 then
    reason = DENY_DEBT
  elseif spendable == 0 then
    reason = DENY_EXHAUSTED
  end
  return nil, {reason, least, spendable}
end

-- Takes up to `credits` out of the active grants, in order; `how` is G_HELD or G_USED.
function book.take(credits, how)
  local missing, draws = credits, {}
  local at_hand = grants[1]
  local is_enough = at_hand and book.is_active(at_hand) and book.remaining(at_hand) >= credits
  if account[A_FOLD] and account[A_FOLD_LEFT] > 0 and credits > 0 and not is_enough then
    book.unfold()
  end
  for i = 1, #grants do
    if missing == 0 then break end
    local grant = grants[i]
    if book.is_active(grant) then
      local part = book.remaining(grant)
      if part > missing then part = missing end
      if part > 0 then
        grant[how] = grant[how] + part
        missing = missing - part
        draws[#draws + 1] = grant[G_ID]
        draws[#draws + 1] = part
      end
    end
  end
  return draws
end
