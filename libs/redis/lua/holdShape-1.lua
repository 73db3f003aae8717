--[[
Holds a shape back on one worker, or lets it go.

KEYS[1] plan hash
ARGV[1] shape key   ARGV[2] worker   ARGV[3] '1' to hold, '0' to let go   ARGV[4] channel   ARGV[5] notice

Returns 1 when that changed something, else 0; a shape that is not in the plan is not held.
]]
local held = 'h ' .. ARGV[1] .. ' ' .. ARGV[2]
local changed
if ARGV[3] == '0' then
  changed = redis.call('HDEL', KEYS[1], held)
else
  local planned = false
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local kind, shape = string.match(field, '^([dkw]) ([^ ]+)')
    if kind and shape == ARGV[1] then planned = true end
  end
  if not planned then return 0 end
  changed = redis.call('HSETNX', KEYS[1], held, '1')
end
if changed == 1 then
  redis.call('HINCRBY', KEYS[1], 'revision', 1)
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return changed
