--[[
Begins a runtime epoch. Holders of the old one are not live from this moment, not from the next heartbeat.

KEYS[1] epoch   KEYS[2] alive   KEYS[3] present   KEYS[4] the worker's holdings
ARGV[1] last epoch that the worker knows   ARGV[2] time to live of the epoch, ms   ARGV[3] channel   ARGV[4] notice
ARGV[5] worker

Returns the new epoch.
]]
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
local epoch = math.max(known, tonumber(ARGV[1])) + 1
redis.call('SET', KEYS[1], epoch, 'PX', ARGV[2])
redis.call('SET', KEYS[2], epoch, 'XX', 'KEEPTTL')
redis.call('SET', KEYS[3], epoch, 'XX', 'KEEPTTL')
-- Every lane of the old runtime is gone with it.
for _, holders in ipairs(redis.call('HVALS', KEYS[4])) do
  for _, member in ipairs(redis.call('SMEMBERS', holders)) do
    if string.sub(member, 1, #ARGV[5] + 1) == ARGV[5] .. ':' then redis.call('SREM', holders, member) end
  end
end
redis.call('DEL', KEYS[4])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return epoch
