-- Commits that report less than an earlier one (src/domain/book/commit.rs, settle.rs).

-- Whether a report is older than the last one: nothing of it is more, something is less.
function book.is_overtaken(report, last)
  if type(report) ~= type(last) then return false end
  if type(report) == 'number' then return report < last end
  local quantities = {}
  for i = 1, #last, 2 do quantities[last[i]] = last[i + 1] end
  local is_same = #report == #last
  for i = 1, #report, 2 do
    local most = quantities[report[i]] or 0
    if report[i + 1] > most then return false end
    if report[i + 1] ~= most then is_same = false end
  end
  return not is_same
end

-- Un-charges credits of one grant, and what of them a plan that was made smaller has no room for
-- expires; nil where the grant has ended or is gone.
function book.correct(id, credits, lost)
  local grant, moved = book.un_use(id, credits)
  if grant then book.expire_surplus(grant, credits, lost) end
  return moved
end

-- Gives back what earlier commits charged too much: write-offs, debt, then grants, last first.
-- Answers the receipt, its moves, by how much the debt grew, and what has expired.
function book.give_back(known, credits)
  local draws, moves, lost, left = {}, {}, {}, credits
  local absorbed = math.min(known[R_WRITTEN_OFF], left)
  known[R_WRITTEN_OFF] = known[R_WRITTEN_OFF] - absorbed
  left = left - absorbed
  local owed = math.min(known[R_DEBT], left)
  known[R_DEBT] = known[R_DEBT] - owed
  left = left - owed
  local debt = math.min(owed, account[A_DEBT])
  account[A_DEBT] = account[A_DEBT] - debt
  local elsewhere = owed - debt
  local charges = known[R_CHARGES]
  while left > 0 and #charges > 0 do
    local rest, id = table.remove(charges), table.remove(charges)
    local part = math.min(rest, left)
    left = left - part
    local moved = book.correct(id, part, lost)
    if moved then
      book.add_draw(draws, id, part)
      moves[#moves + 1] = moved
    elseif string.sub(id, 1, 5) ~= 'plan:' then
      elsewhere = elsewhere + part
    end
    if rest > part then
      charges[#charges + 1] = id
      charges[#charges + 1] = rest - part
    end
  end
  credits = credits - left
  known[R_CHARGED] = known[R_CHARGED] - credits
  if elsewhere > 0 then
    local id = text('correction:%.0f', account[A_SEQUENCE] + 1)
    book.add_draw(draws, id, elsewhere)
    moves[#moves + 1] = book.add_adjustment(id, elsewhere, 'correction')
  end
  return {0, 0, draws, 0, 0, 0, 0, credits, false}, moves, -debt, lost
end
