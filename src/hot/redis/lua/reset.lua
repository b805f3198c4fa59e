-- Begins a shard's outbox anew where the ledger is. Until `open` it counts as half rebuilt. Says
-- since when: nobody can list the settled reservations to look which of them the ledger has more of.
--
-- KEYS 1 meta  2 out
-- ARGV 1 claim  2 the server's name  3 the ledger's position  4 epoch
--      5 now in ms, or '' for the server's clock
-- Reply: true
assert(#KEYS == 2 and #ARGV == 5, 'arity')

local before = tonumber(call('HGET', KEYS[1], 'anew') or '0')
local anew = math.max(before, tonumber(ARGV[5]) or time_ms())
call('DEL', KEYS[2])
-- The era with the position: whoever waits for a record of the older history must not take the
-- ledger's position for one of his.
call('HSET', KEYS[1], 'tail', ARGV[3], 'trimmed', ARGV[3], 'epoch', ARGV[4], 'era', ARGV[4],
  'partial', '1', 'run', live_run(), 'anew', text('%.0f', anew))
return pack(true)
