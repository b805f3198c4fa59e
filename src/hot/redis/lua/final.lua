-- Reservations that are settled to the end.

-- A reservation that is settled to the end, without what only a further settlement would need:
-- what it was charged to is the ledger's. Nothing at the end is written out.
function book.final(known)
  local last, extensions = known[R_LAST] or {false, false, false, ''}, known[R_EXTENSIONS]
  local receipt = last[L_RECEIPT]
  while receipt and (receipt[#receipt] == 0 or receipt[#receipt] == false) do
    receipt[#receipt] = nil
  end
  local record = {FINAL, known[R_STATE], known[R_ORIGIN], known[R_ACTION], known[R_ASKED],
    known[R_VERSION], known[R_EXPIRES], known[R_CHARGED], known[R_RETURNED], last[L_REQUEST],
    receipt, #extensions > 0 and extensions, last[L_DENIAL], last[L_PRICE] ~= '' and last[L_PRICE]}
  for i = F_PRICE, F_REQUEST, -1 do
    if record[i] then break end
    record[i] = nil
  end
  return record
end
