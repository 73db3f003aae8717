--[[
Writes the step that a runtime is about to do with a lane, or clears it, as the runtime epoch allows.

KEYS[1] epoch   KEYS[2] steps
ARGV[1] epoch   ARGV[2] the lane's place   ARGV[3] document, '' to clear   ARGV[4] time to live, ms

Returns 1, or 0 when a later epoch has begun.
]]
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if known > tonumber(ARGV[1]) then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return 1
