-- What every script of a recovery begins with: whether the shard is still this process's to
-- verify, on the server that it has looked at. Says so to others by the time.
--
-- KEYS 1 meta
-- ARGV 1 claim  2 the server's name
local call, pack, text = redis.call, cmsgpack.pack, string.format

local function time_ms()
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

if call('HGET', KEYS[1], 'claim') ~= ARGV[1] or live_name() ~= ARGV[2] then
  return redis.error_reply('TOLLGATE another process verifies the shard, or the server changed')
end
call('HSET', KEYS[1], 'claimed_at', text('%.0f', time_ms()))
