-- What every script begins with: whether its shard may be stepped on, on the server that it runs
-- on. A server that restarted, was promoted or follows another one has another name than the one
-- that the shard was verified for (src/hot/redis/recovery.rs).
--
-- ARGV last, and taken off here: the server's name as the connection learned it when it was made,
-- or '' on a cluster, whose client hides its connections: then the server is asked.
local server = table.remove(ARGV)

-- Nothing where the shard's epoch is known and was verified for this server, and it does not lack
-- what it once had.
local function gate(epoch, verified, is_behind)
  if server == '' then
    server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  end
  if epoch and verified == server and not is_behind then return nil end
  return redis.error_reply('NOTBEGUN the shard is not verified for this server')
end
