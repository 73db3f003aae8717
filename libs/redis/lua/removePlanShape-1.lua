--[[
Takes a shape out of a warm plan, whoever named it.

KEYS[1] plan hash
ARGV[1] shape key   ARGV[2] channel   ARGV[3] notice

Returns 1, or 0 when the shape is not in the plan.
]]
local removed = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local kind, shape = string.match(field, '^([dkwh]) ([^ ]+)')
  if shape == ARGV[1] then
    redis.call('HDEL', KEYS[1], field)
    if kind ~= 'h' then removed = 1 end
  end
end
if removed == 1 then
  redis.call('HINCRBY', KEYS[1], 'revision', 1)
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return removed
