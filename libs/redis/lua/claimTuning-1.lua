--[[
Takes the right to tune a model in an environment, or keeps it.

KEYS[1] claim
ARGV[1] token   ARGV[2] time to live, ms

Returns 1, or 0 when another one has it.
]]
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
