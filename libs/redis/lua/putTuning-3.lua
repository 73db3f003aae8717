--[[
Writes what is known about one shape's candidates, as the holder of the claim, or while nobody has it.

KEYS[1] claim   KEYS[2] tuning   KEYS[3] set of tunings
ARGV[1] token   ARGV[2] document   ARGV[3] time to live, ms   ARGV[4] member of the set
ARGV[5] channel   ARGV[6] notice, '' for none

Returns 1, or 0 when another one has the claim.
]]
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('SADD', KEYS[3], ARGV[4])
if ARGV[6] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
return 1
