-- Closes a shard whose entries the ledger does not take: for good where the ledger takes those of
-- another server, until it is verified anew otherwise.
--
-- KEYS 1 meta
-- ARGV 1 the ledger's epoch  2 the run id of the server that it takes entries of
-- Reply: whether another server has replaced this one, epoch or false, tail
assert(#KEYS == 1 and #ARGV == 2, 'arity')

local call = redis.call
local run = live_run()
local meta = call('HMGET', KEYS[1], 'epoch', 'server', 'tail')
local epoch, tail = tonumber(meta[1] or '0'), tonumber(meta[3] or '0')
if meta[2] ~= live_name() or epoch > tonumber(ARGV[1]) then
  return cmsgpack.pack(false, false, tail)
end
call('HDEL', KEYS[1], 'server')
local is_replaced = epoch < tonumber(ARGV[1]) and ARGV[2] ~= run
if is_replaced then call('HSET', KEYS[1], 'fenced', run) end
return cmsgpack.pack(is_replaced, epoch, tail)
