--[[
Writes a worker's document, as its runtime epoch allows.

KEYS[1] epoch   KEYS[2] worker   KEYS[3] set of workers
ARGV[1] epoch   ARGV[2] worker id   ARGV[3] document   ARGV[4] time to live of the document, ms
ARGV[5] time to live of the epoch, ms   ARGV[6] channel   ARGV[7] notice, '' for none

Returns 1, or 0 when a later epoch has begun.
]]
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
local epoch = tonumber(ARGV[1])
if known > epoch then return 0 end
if known < epoch then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5]) end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
redis.call('SADD', KEYS[3], ARGV[2])
if ARGV[7] ~= '' then redis.call('PUBLISH', ARGV[6], ARGV[7]) end
return 1
