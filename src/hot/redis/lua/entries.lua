-- Ledger entries (src/domain/book/record.rs).

-- Appends a ledger entry with the account's next sequence. `about` says more of it: draws, debt
-- added, reservation, settlement, change, reason, actor.
function book.record(kind, moves, about)
  about = about or {}
  account[A_SEQUENCE] = account[A_SEQUENCE] + 1
  account[A_VERSION] = account[A_VERSION] + 1
  dirty = true
  entries[#entries + 1] = pack(ENTRY_FORMAT, ARGV[5], account[A_SEQUENCE], kind, now, book.available(),
    about.debt_added or 0, moves, about.draws or false, about.reservation or false,
    about.settlement or false, about.change or false, about.reason or '', about.actor or '',
    unpack(account, A_STATUS, A_CHANGE))
end

function book.used_moves(draws)
  local moves = {}
  for i = 1, #draws, 2 do
    moves[#moves + 1] = {draws[i], 0, draws[i + 1], 0, false, false}
  end
  return moves
end
