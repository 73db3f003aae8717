--[[
Begins the next generation of a warm-up's flow.

KEYS[1] warm-up
ARGV[1] new generation   ARGV[2] assignments JSON   ARGV[3] channel   ARGV[4] notice

Returns 1, or 0 unless the generation follows the stored one and the warm-up is neither canceled nor finished. The same
assignment again (a command sent twice over a reconnect) is 1.
]]
local known = redis.call('HMGET', KEYS[1], 'generation', 'canceled', 'final', 'assignments')
if not known[1] or known[2] ~= '0' or known[3] then return 0 end
if known[1] == ARGV[1] and known[4] == ARGV[2] then return 1 end
if tonumber(known[1]) ~= tonumber(ARGV[1]) - 1 then return 0 end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'assignments', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
