-- Sets credits aside, or denies it (src/domain/book/reserve.rs).
--
-- KEYS 8 the reservation
-- ARGV 6 reservation id  7 credits asked  8 the least that will do  9 ttl in ms
--      10 '1' for a dry run  11 action  12 what was asked, as it was asked  13 rate card version
-- Reply: OK with the reservation, or for a dry run with how much it would hold
--        KNOWN with the reservation that has this id already
--        DENIED with {reason, required, available}    CYCLE_ENDED
assert(#KEYS == 8 + due_given and #ARGV == 13 + due_given, 'arity')

local hindrance = book.hindrance()
if hindrance then return book.answer(hindrance) end
book.advance()
local is_dry = ARGV[10] == '1'
if not is_dry then
  local known = book.read(KEYS[8], ARGV[6])
  if known then
    book.expire_if_due(known)
    return book.answer(KNOWN, known)
  end
end
local granted, denial = book.cover(tonumber(ARGV[7]), tonumber(ARGV[8]))
if not granted then return book.answer(DENIED, nil, denial) end
if is_dry then return book.answer(OK, nil, granted) end
local ttl_ms = tonumber(ARGV[9])
local held = {key = KEYS[8], id = ARGV[6], record = {FORMAT, OPEN, BY_RESERVE, ARGV[11], ARGV[12],
  ARGV[13], ttl_ms, now + ttl_ms, book.take(granted, G_HELD)}}
book.check_in(held)
book.finish()
return book.answer(OK, held)
