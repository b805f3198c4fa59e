-- What the account has, after what time does to it (Book::balance).
--
-- Reply: OK    CYCLE_ENDED
assert(#KEYS == 6 and #ARGV == 5, 'arity')

if cycle_is_over() then return answer(CYCLE_ENDED) end
advance()
return answer(OK)
