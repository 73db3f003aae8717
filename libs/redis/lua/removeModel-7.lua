--[[
Forgets a model version with its plan and statistics.

KEYS[1] model hash   KEYS[2] set of names   KEYS[3] set of the name's versions   KEYS[4] desired hash
KEYS[5] plan hash   KEYS[6] statistics hash   KEYS[7] padding hash
ARGV[1] name   ARGV[2] version   ARGV[3] channel   ARGV[4] notice

Returns 1, or 0 when it was not registered.
]]
local removed = redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[3], ARGV[2])
if redis.call('SCARD', KEYS[3]) == 0 then redis.call('SREM', KEYS[2], ARGV[1]) end
redis.call('HDEL', KEYS[4], ARGV[1] .. '/' .. ARGV[2])
redis.call('DEL', KEYS[5], KEYS[6], KEYS[7])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return removed
