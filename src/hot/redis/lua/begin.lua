-- Begins a shard without a ledger, for scripts that run for their own sake.
--
-- KEYS 1 meta
-- Reply: true
assert(#KEYS == 1 and #ARGV == 0, 'arity')

redis.call('HSET', KEYS[1], 'epoch', '1', 'era', '1', 'server', live_name(), 'tail', '0',
  'trimmed', '0')
return cmsgpack.pack(true)
