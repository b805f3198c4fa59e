-- Begins a shard's outbox anew where the ledger is. Until `open` it counts as half rebuilt.
--
-- KEYS 1 meta  2 out
-- ARGV 1 claim  2 the server's name  3 the ledger's position  4 epoch
-- Reply: true
assert(#KEYS == 2 and #ARGV == 4, 'arity')

call('DEL', KEYS[2])
-- The era with the position: whoever waits for a record of the older history must not take the
-- ledger's position for one of his.
call('HSET', KEYS[1], 'tail', ARGV[3], 'trimmed', ARGV[3], 'epoch', ARGV[4], 'era', ARGV[4],
  'partial', '1', 'run', live_run())
return pack(true)
