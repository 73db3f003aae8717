--[[
Writes the step that a runtime is about to do, or clears it, as the runtime epoch allows.

KEYS[1] epoch   KEYS[2] step
ARGV[1] epoch   ARGV[2] document, '' to clear   ARGV[3] time to live, ms

Returns 1, or 0 when a later epoch has begun.
]]
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if known > tonumber(ARGV[1]) then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return 1
