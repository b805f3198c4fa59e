-- What commits and charges have in common (src/domain/book/settle.rs).

-- Turns up to `credits` of some holds into charges; leaves in `holds` what is still held.
function book.use_holds(holds, credits)
  local missing, used, kept = credits, {}, {}
  for i = 1, #holds, 2 do
    local id, part = holds[i], holds[i + 1]
    if part > missing then part = missing end
    if part > 0 then
      local grant = book.find_grant(id)
      if grant then
        grant[G_HELD] = grant[G_HELD] - part
        grant[G_USED] = grant[G_USED] + part
      end
      missing = missing - part
      used[#used + 1] = id
      used[#used + 1] = part
    end
    if holds[i + 1] > part then
      kept[#kept + 1] = id
      kept[#kept + 1] = holds[i + 1] - part
    end
  end
  return used, kept
end

-- Charges `credits`: the hold, then the active grants, then the overage policy. Answers a
-- receipt, its moves and by how much the debt grew; or nothing where `wanted` is set.
function book.pay(known, credits)
  if credits - book.sum_draws(known[R_HOLDS]) > book.available() and book.reclaim() then return end
  local draws, kept = book.use_holds(known[R_HOLDS], credits)
  known[R_HOLDS] = kept
  local overage = credits - book.sum_draws(draws)
  local more = overage > 0 and book.take(overage, G_USED) or {}
  local uncovered = overage - book.sum_draws(more)
  for i = 1, #more, 2 do book.add_draw(draws, more[i], more[i + 1]) end
  local debt, written_off = uncovered, 0
  if account[A_OVERAGE] == ABSORB then debt, written_off = 0, uncovered end
  account[A_DEBT] = account[A_DEBT] + debt
  -- Charges keep the order of charging: only neighbours are merged.
  local charges = known[R_CHARGES]
  for i = 1, #draws, 2 do
    if #charges > 0 and charges[#charges - 1] == draws[i] then
      charges[#charges] = charges[#charges] + draws[i + 1]
    else
      charges[#charges + 1] = draws[i]
      charges[#charges + 1] = draws[i + 1]
    end
  end
  known[R_CHARGED] = known[R_CHARGED] + credits
  known[R_DEBT] = known[R_DEBT] + debt
  known[R_WRITTEN_OFF] = known[R_WRITTEN_OFF] + written_off
  return {credits, 0, draws, 0, overage, debt, written_off, 0, false}, book.used_moves(draws), debt
end

-- Writes the one entry of a settlement. `request` is the whole request as Rust packed it.
function book.record_settlement(held, receipt, held_before, moves, debt_added, request, is_last,
                                 price)
  local known = held.record
  known[R_COMMITS] = known[R_COMMITS] + 1
  receipt[C_SEQUENCE] = account[A_SEQUENCE] + 1
  book.record(USAGE, moves, {
    debt_added = debt_added,
    reservation = held.id,
    settlement = {known[R_COMMITS], is_last, known[R_ACTION], request, held_before, receipt, price},
  })
end
