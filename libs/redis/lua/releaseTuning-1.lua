--[[
Gives up the right to tune a model, as its own holder only.

KEYS[1] claim
ARGV[1] token

Returns 1, or 0 when another one has it, or nobody.
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
