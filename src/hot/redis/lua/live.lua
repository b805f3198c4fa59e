-- The server's name, asked of itself: its replication id; and its process's, its run id. The first
-- changes with what the server has, so it is what steps are held to. The second tells a server that
-- never went away from one that has come back.
local function live_name()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
end

local function live_run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end
