-- Gives a claim back whose verification has failed, so that another process need not wait until it
-- ends.
--
-- KEYS 1 meta
-- ARGV 1 claim  2 the server's name
-- Reply: true
assert(#KEYS == 1 and #ARGV == 2, 'arity')

call('HDEL', KEYS[1], 'claim', 'claimed_at')
return pack(true)
