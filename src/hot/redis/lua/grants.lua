-- Grants that come back or come to be: for refunds, corrections and changes
-- (src/domain/account.rs, src/domain/book/change.rs).

-- Ids are ordered by their bytes; Lua's own order depends on the server's locale.
function book.is_before(one, other)
  local shorter = math.min(#one, #other)
  for i = 1, shorter do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then return a < b end
  end
  return #one < #other
end

-- The one total order of spending (PRODUCT.md, rule 9).
function book.is_spent_before(one, other)
  local a, b = one[G_PRIORITY], other[G_PRIORITY]
  if a ~= b then return a < b end
  a, b = one[G_UNTIL] or math.huge, other[G_UNTIL] or math.huge
  if a ~= b then return a < b end
  a, b = one[G_KIND] == PROMO, other[G_KIND] == PROMO
  if a ~= b then return a end
  a, b = one[G_FROM], other[G_FROM]
  if a ~= b then return a < b end
  return book.is_before(one[G_ID], other[G_ID])
end

function book.insert_grant(grant)
  book.unfold()
  local place = 1
  while grants[place] and book.is_spent_before(grants[place], grant) do place = place + 1 end
  table.insert(grants, place, grant)
end

-- The move that makes a grant; the copy in it stays as the grant was made.
function book.made(grant)
  return {grant[G_ID], grant[G_AMOUNT], 0, 0, false, {unpack(grant)}}
end

-- One that ends stays until then, so that what comes back to it ends with it.
function book.drop_used_up()
  book.keep_grants(function(grant) return grant[G_UNTIL] end)
end

-- Where there are as many as there may be: also those that end, where the others are not enough.
function book.make_room()
  if #grants >= GRANTS_MAX then book.drop_used_up() end
  if #grants >= GRANTS_MAX then
    book.keep_grants(function() return false end)
  end
end

-- An adjustment grant that never expires, for credits that have no way back to their own.
function book.add_adjustment(id, credits, source)
  local grant = {id, ADJUSTMENT, credits, 0, 0, 0, DEFAULT_PRIORITY, now, false, false, source}
  local moved = book.made(grant)
  book.insert_grant(grant)
  return moved
end

-- Takes credits off what is used of a grant, whether there is room for them or not: the grant and
-- the move. Nothing where it has ended or is gone.
function book.un_use(id, credits)
  local grant = book.find_grant(id)
  if not grant or book.has_ended(grant) or grant[G_USED] < credits then return nil end
  grant[G_USED] = grant[G_USED] - credits
  return grant, {id, 0, -credits, 0, false, false}
end

-- Un-charges credits of one grant; nil where that grant can't have them back.
function book.uncharge(id, credits)
  local grant, moved = book.un_use(id, credits)
  if not grant then return nil end
  if book.surplus(grant) > 0 then
    grant[G_USED] = grant[G_USED] + credits
    return nil
  end
  return moved
end
