-- The server's name, asked of itself: its replication id.
local function live_name()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
end
