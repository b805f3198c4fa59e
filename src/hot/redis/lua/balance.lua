-- What the account has, after what time does to it (Book::balance). The reply has all of its grants.
--
-- Reply: OK    CYCLE_ENDED
assert(#KEYS == 7 and #ARGV == 5, 'arity')

if book.cycle_is_over() then return book.answer(CYCLE_ENDED) end
book.advance()
if account[A_FOLD] then folded = call('GET', KEYS[7]) end
return book.answer(OK)
