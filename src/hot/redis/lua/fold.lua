-- An account with many grants keeps those apart that it is not spending from, packed in a key of
-- their own: until one of them is asked for they cost a step nothing. A_GRANTS has the grant at
-- hand then, KEYS 7 all others: {A_FOLD, before it, after it}. A_FOLD is the account's version
-- when they were packed, so that neither is ever taken for another's.

-- Puts all grants in their places again, for a step that looks beyond the one at hand.
function book.unfold()
  if not account[A_FOLD] then return end
  folded = call('GET', KEYS[7])
  local fold = folded and decode(folded) or {}
  if fold[1] ~= account[A_FOLD] then
    error(redis.error_reply('TOLLGATE packed grants of another version of the account'))
  end
  local before, after = fold[2], fold[3]
  for i = 1, #grants do before[#before + 1] = grants[i] end
  for i = 1, #after do before[#before + 1] = after[i] end
  book.forget_fold()
  account[A_GRANTS], grants = before, before
end

function book.forget_fold()
  for i = A_FOLD, A_FOLD_LAST do account[i] = nil end
end

-- Leaves only the grant that is being spent, and packs the others. What is said of them in the
-- account stays as it is until the first of them begins or ends.
function book.fold()
  local before, at_hand, after = {}, {}, {}
  local left, changes, held, plan_used, plan_left, packs = 0, NEVER, 0, 0, 0, 0
  local plan_grant, lasting, renews_at = false, 0, account[A_END]
  local plan, owes = book.plan_grant_id(), account[A_DEBT] > 0
  if now < account[A_START] then changes, renews_at = account[A_START], account[A_START] end
  for i = 1, #grants do
    local grant = grants[i]
    -- One that has ended since time last acted on the account must be found by who acts next; of
    -- those without anything the plan's stays.
    local is_over = grant[G_HELD] == 0 and grant[G_ID] ~= plan or book.remaining(grant) > 0
    if is_over and book.has_ended(grant) then return end
    local spendable = book.is_active(grant) and book.remaining(grant) or 0
    -- So must what pays a debt.
    if owes and spendable > 0 then return end
    if spendable > 0 and #at_hand == 0 then
      at_hand[1] = grant
    else
      local group = #at_hand == 0 and before or after
      group[#group + 1] = grant
      left, held = left + spendable, held + grant[G_HELD]
      if grant[G_KIND] ~= PLAN then
        packs = packs + spendable
        if (grant[G_UNTIL] or NEVER) > renews_at then lasting = lasting + spendable end
      end
      if grant[G_ID] == plan then
        plan_used, plan_left = grant[G_USED], spendable
        if now < account[A_START] then
          plan_grant = book.remaining(grant)
        elseif book.is_active(grant) then
          plan_grant = grant[G_HELD]
        end
      end
      if not book.has_ended(grant) then
        local next_change = grant[G_FROM] > now and grant[G_FROM] or grant[G_UNTIL] or NEVER
        if next_change < changes then changes = next_change end
      end
    end
  end
  -- Sums beyond that are not exact.
  if left > CREDITS_MAX or held > CREDITS_MAX then return end
  folded = pack({account[A_VERSION], before, after})
  account[A_GRANTS], grants = at_hand, at_hand
  local fold = {account[A_VERSION], left, changes, held, plan_used, plan_left, packs, plan_grant,
    lasting}
  for i = 1, #fold do account[A_FOLD + i - 1] = fold[i] end
  return folded
end
