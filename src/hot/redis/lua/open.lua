-- Ends a shard's verification: from now on steps run on it, on this server.
--
-- KEYS 1 meta
-- ARGV 1 claim  2 the server's name  3 epoch  4 '1' where its history goes on as it was
-- Reply: true
assert(#KEYS == 1 and #ARGV == 4, 'arity')

call('HSET', KEYS[1], 'epoch', ARGV[3], 'server', ARGV[2], 'run', live_run())
if ARGV[4] ~= '1' then call('HSET', KEYS[1], 'era', ARGV[3]) end
call('HDEL', KEYS[1], 'claim', 'claimed_at', 'fenced', 'partial')
return pack(true)
