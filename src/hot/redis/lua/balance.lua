-- What the account has, after what time does to it (Book::balance). The reply has all of its grants.
--
-- Reply: OK    CYCLE_ENDED
assert(#KEYS == 7 and #ARGV == 5, 'arity')

local hindrance = book.hindrance()
if hindrance then return book.answer(hindrance) end
book.advance()
if account[A_FOLD] then folded = call('GET', KEYS[7]) end
return book.answer(OK)
