-- What most steps can do without: time that has passed on grants and holds, debt, refusals
-- (src/domain/book.rs, src/domain/account.rs).

function book.status_denial(required)
  if account[A_STATUS] == ACTIVE then return nil end
  local reason = account[A_STATUS] == SUSPENDED and DENY_SUSPENDED or DENY_CLOSED
  return {reason, required, book.available()}
end

-- Whether what expired after it was charged did so before the shard began anew: the ledger may have
-- more of it by then, and what that gave back already would come back once more. Who settles on it
-- settles all anew, and the ledger reverses what it had.
function book.is_forgotten(known)
  return known[R_ENDED] <= tonumber(call('HGET', KEYS[5], 'anew') or '0')
end

-- Debt is the first thing that spendable credits pay.
function book.repay_debt()
  local draws = book.take(account[A_DEBT], G_USED)
  if #draws == 0 then return end
  local repaid = book.sum_draws(draws)
  account[A_DEBT] = account[A_DEBT] - repaid
  book.record(DEBT_REPAID, book.used_moves(draws), {debt_added = -repaid})
end

function book.expire_grants()
  local moves, before = {}, #grants
  for i = 1, before do
    local grant = grants[i]
    local left = book.has_ended(grant) and book.remaining(grant) or 0
    if left > 0 then
      grant[G_EXPIRED] = grant[G_EXPIRED] + left
      moves[#moves + 1] = {grant[G_ID], 0, 0, left, false, false}
    end
  end
  book.record_expiry(moves)
  book.drop_ended()
  if #grants < before then dirty = true end
end

function book.drop_ended()
  book.keep_grants(function(grant) return not book.has_ended(grant) end)
end

function book.keep_grants(is_kept)
  local kept = {}
  local plan = book.plan_grant_id()
  for i = 1, #grants do
    local grant = grants[i]
    if grant[G_HELD] > 0 or book.remaining(grant) > 0 or grant[G_ID] == plan or is_kept(grant) then
      kept[#kept + 1] = grant
    end
  end
  account[A_GRANTS], grants = kept, kept
end

-- What `final` left, as far as a step asks for it: who answers of it gets the bytes themselves.
function book.reopen(record)
  local last = record[F_RECEIPT] and {record[F_REQUEST], record[F_RECEIPT]} or false
  return {FORMAT, record[R_STATE], record[R_ORIGIN], record[R_ACTION], record[R_ASKED],
    record[R_VERSION], 0, record[F_EXPIRES], {}, false, record[F_CHARGED], 0, 0, 0,
    record[F_RETURNED], {}, last, record[F_EXTENSIONS] or {}}
end
