--[[
Takes a lane out of the holders of its shape class and writes its new state, at once.

KEYS[1] the worker's epoch   KEYS[2] lane   KEYS[3] set of all lanes   KEYS[4] set of the worker's lanes
KEYS[5] holders of the class   KEYS[6] the worker's holdings
ARGV[1] epoch of the writer   ARGV[2] lane id   ARGV[3] document   ARGV[4] holder `worker:epoch:lane`
ARGV[5] time to live of the document in ms, '0' for none   ARGV[6] time to live of the epoch, ms
ARGV[7] channel   ARGV[8] notice

Returns 1, or 0 when a later epoch has begun; the holder of the old epoch is taken out all the same.
]]
redis.call('SREM', KEYS[5], ARGV[4])
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
local epoch = tonumber(ARGV[1])
if known > epoch then return 0 end
if known < epoch then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[6]) end

redis.call('HDEL', KEYS[6], ARGV[2])
if ARGV[5] == '0' then
  redis.call('SET', KEYS[2], ARGV[3])
else
  redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[5])
end
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('SADD', KEYS[4], ARGV[2])
redis.call('PUBLISH', ARGV[7], ARGV[8])
return 1
