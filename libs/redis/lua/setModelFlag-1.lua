--[[
Sets `wasReady` or `retired` of a registered model version.

KEYS[1] model hash
ARGV[1] field   ARGV[2] '0' or '1'   ARGV[3] channel   ARGV[4] notice

Returns 1 when the flag changed, else 0.
]]
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known or known == ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
