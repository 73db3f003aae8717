--[[
Cancels a warm-up: it names its shapes no longer, and those that nothing else names leave the plan. The same request
makes a new warm-up from now on.

KEYS[1] warm-up   KEYS[2] digest of its request   KEYS[3] plan
ARGV[1] id   ARGV[2] channel   ARGV[3] notice of the cancellation   ARGV[4] notice of the plan   ARGV[5...] shape keys

Returns 0 when it is unknown, canceled or finished already, else an array of the shapes that left the plan.
]]
local known = redis.call('HMGET', KEYS[1], 'canceled', 'final')
if not known[1] or known[1] ~= '0' or known[2] then return 0 end
redis.call('HSET', KEYS[1], 'canceled', '1')
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end

for n = 5, #ARGV do redis.call('HDEL', KEYS[3], 'w ' .. ARGV[n] .. ' ' .. ARGV[1]) end
local fields = redis.call('HKEYS', KEYS[3])
local named = {}
for _, field in ipairs(fields) do
  local kind, shape = string.match(field, '^([dkw]) ([^ ]+)')
  if kind then named[shape] = true end
end
local left, gone = {}, {}
for n = 5, #ARGV do
  if not named[ARGV[n]] then
    left[#left + 1] = ARGV[n]
    gone[ARGV[n]] = true
  end
end
for _, field in ipairs(fields) do
  local shape = string.match(field, '^h ([^ ]+)')
  if shape and gone[shape] then redis.call('HDEL', KEYS[3], field) end
end
redis.call('HINCRBY', KEYS[3], 'revision', 1)
redis.call('PUBLISH', ARGV[2], ARGV[3])
redis.call('PUBLISH', ARGV[2], ARGV[4])
return left
