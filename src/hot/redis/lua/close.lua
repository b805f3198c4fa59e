-- Closes a shard of a process that another one has replaced, for as long as the process lives.
--
-- KEYS 1 meta
-- ARGV 1 claim  2 the server's name
-- Reply: true
assert(#KEYS == 1 and #ARGV == 2, 'arity')

call('HSET', KEYS[1], 'fenced', live_run())
call('HDEL', KEYS[1], 'claim', 'claimed_at')
return pack(true)
