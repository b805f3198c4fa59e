-- An account with many grants keeps those apart that it is not spending from: packed, they cost a
-- step nothing. A_GRANTS has the grant at hand then, A_REST all others: {before it, after it}.

-- Puts all grants in their places again, for a step that looks beyond the one at hand.
function book.unfold()
  if not account[A_REST] then return end
  local before, after = unpack(decode(account[A_REST]))
  for i = 1, #grants do before[#before + 1] = grants[i] end
  for i = 1, #after do before[#before + 1] = after[i] end
  account[A_REST], account[A_REST_LEFT], account[A_REST_UNTIL] = nil, nil, nil
  account[A_GRANTS], grants = before, before
end

-- Leaves only the grant that is being spent, and packs the others. What they have to spend stays
-- as it is until the first of them begins or ends.
function book.fold()
  local before, at_hand, after, left, changes = {}, {}, {}, 0, NEVER
  for i = 1, #grants do
    local grant = grants[i]
    -- One that has ended since time last acted on the account must be found by who acts next.
    if book.has_ended(grant) and (grant[G_HELD] == 0 or book.remaining(grant) > 0) then return end
    local spendable = book.is_active(grant) and book.remaining(grant) or 0
    if spendable > 0 and #at_hand == 0 then
      at_hand[1] = grant
    else
      local group = #at_hand == 0 and before or after
      group[#group + 1] = grant
      left = left + spendable
      if not book.has_ended(grant) then
        local next_change = grant[G_FROM] > now and grant[G_FROM] or grant[G_UNTIL] or NEVER
        if next_change < changes then changes = next_change end
      end
    end
  end
  account[A_REST], account[A_REST_LEFT], account[A_REST_UNTIL] = pack({before, after}), left, changes
  account[A_GRANTS], grants = at_hand, at_hand
end
