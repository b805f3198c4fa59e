-- What the account has, after what time does to it (Book::balance).
--
-- Reply: OK    CYCLE_ENDED
assert(#KEYS == 6 and #ARGV == 5, 'arity')

if book.cycle_is_over() then return book.answer(CYCLE_ENDED) end
book.advance()
return book.answer(OK)
