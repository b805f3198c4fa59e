-- Ends a shard's verification: from now on steps run on it, on this server.
--
-- KEYS 1 meta
-- ARGV 1 claim  2 the server's name  3 epoch
-- Reply: true
assert(#KEYS == 1 and #ARGV == 3, 'arity')

-- A new era even where nothing seems to be lost: what the shard had beyond the ledger may be cut
-- off, and its positions come again.
call('HSET', KEYS[1], 'epoch', ARGV[3], 'era', ARGV[3], 'server', ARGV[2], 'run', live_run())
call('HDEL', KEYS[1], 'claim', 'claimed_at', 'fenced', 'partial')
return pack(true)
