--[[
Makes a lane READY: its document with the warm record, and its place among the holders of its shape class, at once.

KEYS[1] the worker's epoch   KEYS[2] lane   KEYS[3] set of all lanes   KEYS[4] set of the worker's lanes
KEYS[5] holders of the class   KEYS[6] the worker's holdings   KEYS[7] alive   KEYS[8] present
KEYS[9] index of the model's classes
ARGV[1] epoch of the writer   ARGV[2] lane id   ARGV[3] document   ARGV[4] holder `worker:epoch:lane`
ARGV[5] time to live of the epoch, ms   ARGV[6] of alive   ARGV[7] of present   ARGV[8] channel   ARGV[9] notice
ARGV[10] shape class

Returns 1, or 0 when a later epoch has begun: nothing is changed.
]]
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
local epoch = tonumber(ARGV[1])
if known > epoch then return 0 end
if known < epoch then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5]) end

redis.call('SET', KEYS[2], ARGV[3])
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('SADD', KEYS[4], ARGV[2])
redis.call('SADD', KEYS[5], ARGV[4])
redis.call('HSET', KEYS[6], ARGV[2], KEYS[5])
redis.call('SADD', KEYS[9], ARGV[10])
-- The write is a sign of life: a holder whose worker is not present would be swept.
redis.call('SET', KEYS[7], ARGV[1], 'PX', ARGV[6])
redis.call('SET', KEYS[8], ARGV[1], 'PX', ARGV[7])
redis.call('PUBLISH', ARGV[8], ARGV[9])
return 1
