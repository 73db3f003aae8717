--[[
Writes a lane's document, as the worker's runtime epoch allows.

KEYS[1] the worker's epoch   KEYS[2] lane   KEYS[3] set of all lanes   KEYS[4] set of the worker's lanes
KEYS[5] lanes of the worker to verify again
ARGV[1] epoch of the writer   ARGV[2] lane id   ARGV[3] document   ARGV[4] time to live in ms, '0' for none
ARGV[5] time to live of the epoch, ms   ARGV[6] channel   ARGV[7] notice

Returns 1, or 0 when a later epoch has begun: nothing is changed.
]]
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
local epoch = tonumber(ARGV[1])
if known > epoch then return 0 end
-- Redis may have lost the last second of its append-only file; the worker knows its own epoch.
if known < epoch then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5]) end

if ARGV[4] == '0' then
  redis.call('SET', KEYS[2], ARGV[3])
else
  redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
  redis.call('SREM', KEYS[5], ARGV[2])
end
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('SADD', KEYS[4], ARGV[2])
redis.call('PUBLISH', ARGV[6], ARGV[7])
return 1
