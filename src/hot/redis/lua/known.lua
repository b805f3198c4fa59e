-- Whether the server that a step or a read runs on is the newest one that the caller knows of, and has
-- what the caller knows the ledger to have (src/hot/redis/known.rs).
--
-- ARGV the newest era that the caller knows the shard to have, and the position up to which it knows
--      the ledger to have it in that era, last, and taken off here
local known_position, known_era = tonumber(table.remove(ARGV)), table.remove(ARGV)

-- The gate, with what it says of a server that counts no more.
local function known_gate(epoch, verified, era, tail)
  -- Of an era before the caller's: an old master that still takes writes, of which the ledger takes
  -- nothing. Whether it was verified under the name that it has is asked of itself: a server that
  -- followed such a one is verified anew.
  local is_replaced = era and tonumber(era) < tonumber(known_era)
  if is_replaced then server = '' end
  -- A living server that followed another one meanwhile may lack what the ledger has. What it would
  -- settle under positions that the ledger has passed would be answered as settled, and lost; what it
  -- says of a reservation may not be so any more.
  local closed = gate(epoch, verified, era == known_era and tonumber(tail) < known_position)
  if closed or not is_replaced then return closed end
  return redis.error_reply(string.format('REPLACED another server has replaced this one: it has era '
    .. '%s of the shard, and this process has met era %s', era, known_era))
end
