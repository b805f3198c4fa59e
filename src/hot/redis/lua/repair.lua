-- Puts right an account that is not as the ledger has it at the same sequence: the ledger's
-- account takes its place, its open holds stay as far as the grants still cover them, and an
-- entry of its own says so (Book::repair).
--
-- KEYS 8 and on: the records of the open holds, earliest first
-- ARGV 6 sequence and  7 version of the account that was compared  8 the account record as the
--      ledger has it  9 why  then the ids of the holds
-- Reply: OK with whether it was repaired, and how many holds expired
assert(#ARGV == 9 + #KEYS - 7, 'arity')

local holds = {}
for i = 8, #KEYS do
  local held = book.read(KEYS[i], ARGV[i + 2])
  if held and held.was_open then holds[#holds + 1] = held end
end
local is_same = account[A_SEQUENCE] == tonumber(ARGV[6]) and account[A_VERSION] == tonumber(ARGV[7])
if not is_same or #holds ~= #KEYS - 7 or #holds ~= call('ZCARD', KEYS[2]) then
  return book.answer(OK, nil, false, 0)
end
book.forget_fold()
local right = decode(ARGV[8])
for i = A_STATUS, A_CHANGE do account[i] = right[i] end
account[A_GRANTS], grants = right[A_GRANTS], right[A_GRANTS]

-- Whether the grants cover a hold. Its draws are of different grants.
function book.is_covered(draws)
  for i = 1, #draws, 2 do
    local grant = book.find_grant(draws[i])
    if not grant or book.remaining(grant) < draws[i + 1] then return false end
  end
  return true
end

for i = 1, #holds do
  local known = holds[i].record
  if book.is_covered(known[R_HOLDS]) then
    for d = 1, #known[R_HOLDS], 2 do
      local grant = book.find_grant(known[R_HOLDS][d])
      grant[G_HELD] = grant[G_HELD] + known[R_HOLDS][d + 1]
    end
  else
    known[R_HOLDS], known[R_STATE], known[R_ENDED] = {}, EXPIRED, now
    expired_count = expired_count + 1
    book.check_in(holds[i])
  end
end
book.record(REPAIR, {}, {reason = ARGV[9], actor = 'tollgate'})
book.finish()
return book.answer(OK, nil, true, expired_count)
