-- Begins a shard's outbox anew where the ledger is. Until `open` the shard has no epoch.
--
-- KEYS 1 meta  2 out
-- ARGV 1 claim  2 the server's name  3 the ledger's position
-- Reply: true
assert(#KEYS == 2 and #ARGV == 3, 'arity')

call('DEL', KEYS[2])
call('HDEL', KEYS[1], 'epoch', 'era')
call('HSET', KEYS[1], 'tail', ARGV[3], 'trimmed', ARGV[3])
return pack(true)
