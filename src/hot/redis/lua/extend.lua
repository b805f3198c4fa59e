-- More credits for an open hold, more time, or both (src/domain/book/extend.rs).
--
-- KEYS 8 the reservation
-- ARGV 6 reservation id  7 extension id  8 credits to add  9 ttl in ms, or ''
-- Reply: OK, KNOWN (this extension was applied before) or NOT_OPEN with the reservation
--        DENIED with {reason, required, available}    NOT_FOUND    TOO_MANY    CYCLE_ENDED
assert(#KEYS == 8 + due_given and #ARGV == 9 + due_given, 'arity')

local hindrance = book.hindrance()
if hindrance then return book.answer(hindrance) end
book.advance()
local held = book.read(KEYS[8], ARGV[6])
if not held then return book.answer(NOT_FOUND) end
book.expire_if_due(held)
local known = held.record
local extensions = known[R_EXTENSIONS]
for i = 1, #extensions, 3 do
  if extensions[i] == ARGV[7] then return book.answer(KNOWN, held) end
end
if known[R_STATE] ~= OPEN then return book.answer(NOT_OPEN, held) end
if #extensions >= 3 * EXTENSIONS_MAX then return book.answer(TOO_MANY) end
local add, ttl_ms = tonumber(ARGV[8]), tonumber(ARGV[9])
if add > 0 then
  local granted, denial = book.cover(add, add)
  if not granted then return book.answer(DENIED, nil, denial) end
end
local draws = book.take(add, G_HELD)
for i = 1, #draws, 2 do book.add_draw(known[R_HOLDS], draws[i], draws[i + 1]) end
if ttl_ms then
  known[R_TTL] = ttl_ms
  known[R_EXPIRES] = math.max(known[R_EXPIRES], now + ttl_ms)
end
extensions[#extensions + 1] = ARGV[7]
extensions[#extensions + 1] = add
extensions[#extensions + 1] = ttl_ms or false
book.check_in(held)
book.finish()
return book.answer(OK, held)
