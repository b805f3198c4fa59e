-- Holds whose deadline has passed (src/domain/book.rs).

function book.expire(held)
  local known = held.record
  local lost = book.return_holds(known[R_HOLDS])
  known[R_HOLDS], known[R_STATE], known[R_ENDED] = {}, EXPIRED, now
  expired_count = expired_count + 1
  book.check_in(held)
  book.record_expiry(lost)
end

function book.is_touched(id)
  for i = 1, #touched do
    if touched[i].id == id then return true end
  end
  return false
end

-- Expires the holds that the step was given.
function book.expire_given()
  if used_given then return end
  used_given = true
  local before = expired_count
  local first_key, first_id = #KEYS - due_given, #ARGV - due_given
  for i = 1, due_given do
    local id = ARGV[first_id + i]
    local held = not book.is_touched(id) and book.read(KEYS[first_key + i], id)
    if held == false then
      -- The step's own reservation, which it has expired already.
    elseif not held or not held.was_open then
      -- Somebody has ended it since this step was told of it, and its deadline with it. If not: what
      -- evicted the record broke the promise of its key, and left a deadline without its hold.
      if call('ZSCORE', KEYS[2], id) then stale[#stale + 1] = id end
    elseif book.is_due(held) then
      book.expire(held)
    end
  end
  if expired_count > before then book.finish() end
end

function book.due_holds(max)
  return call('ZRANGEBYSCORE', KEYS[2], '-inf', text('%.0f', now), 'LIMIT', '0', text('%.0f', max))
end

-- Before a denial: due holds of this account must not cause it. True: ask again with `wanted`.
function book.reclaim()
  book.expire_given()
  if expired_count >= RECLAIM_MAX then return false end
  local due = book.due_holds(RECLAIM_MAX)
  if #due > expired_count + #stale then wanted = due end
  return wanted ~= nil
end
