-- Whether a shard is verified for its server; if not, claims it for whoever may verify it. From
-- then on no step runs on it, whatever name it comes with.
--
-- KEYS 1 meta
-- ARGV 1 claim, or '' to look only: its first 16 characters are the process's
--      2 how long a claim lasts that makes no progress, in ms
-- Reply: VERIFIED, REPLACED, BUSY or UNVERIFIED, the server's name, its run id, then what the shard
--        has: epoch or false, tail or false, whether it was left half rebuilt, and the run id of the
--        process that it was last verified on
assert(#KEYS == 1 and #ARGV == 2, 'arity')

local call = redis.call
local name, run = live_name(), live_run()
local meta = call('HMGET', KEYS[1], 'epoch', 'server', 'tail', 'fenced', 'claim', 'claimed_at',
  'partial', 'run')
local function reply(code)
  return cmsgpack.pack(code, name, run, meta[1] and tonumber(meta[1]),
    meta[3] and tonumber(meta[3]), meta[7] == '1', meta[8] or '')
end

if meta[1] and meta[2] == name then return reply(VERIFIED) end
if meta[4] == run then return reply(REPLACED) end
if ARGV[1] == '' then return reply(UNVERIFIED) end
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local since = now - tonumber(meta[6] or '0')
local is_own = meta[5] and string.sub(meta[5], 1, 16) == string.sub(ARGV[1], 1, 16)
if meta[5] and not is_own and since >= 0 and since < tonumber(ARGV[2]) then return reply(BUSY) end
call('HSET', KEYS[1], 'claim', ARGV[1])
-- A claim that is taken again has made no progress.
if not is_own then call('HSET', KEYS[1], 'claimed_at', string.format('%.0f', now)) end
call('HDEL', KEYS[1], 'server')
return reply(UNVERIFIED)
