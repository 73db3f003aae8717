--[[
Finishes a warm-up, once. Its shapes stay in the plan as kept, one field per shape however many warm-ups named it; a
canceled warm-up names none any more.

KEYS[1] warm-up   KEYS[2] digest of its request   KEYS[3] set of unfinished warm-ups   KEYS[4] plan
ARGV[1] id   ARGV[2] final view JSON   ARGV[3] time to live of the document, ms   ARGV[4] channel   ARGV[5] notice
ARGV[6...] shape keys

Returns 1, or 0 when it is unknown or was finished before.
]]
local known = redis.call('HMGET', KEYS[1], 'canceled', 'final')
redis.call('SREM', KEYS[3], ARGV[1])
if not known[1] or known[2] then return 0 end
redis.call('HSET', KEYS[1], 'final', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
for n = 6, #ARGV do
  local field = 'w ' .. ARGV[n] .. ' ' .. ARGV[1]
  local value = redis.call('HGET', KEYS[4], field)
  if value then
    redis.call('HDEL', KEYS[4], field)
    -- The later naming counts: `<revision> <JSON>`.
    local kept = redis.call('HGET', KEYS[4], 'k ' .. ARGV[n])
    local revision = tonumber(string.match(value, '^%d+'))
    if not kept or tonumber(string.match(kept, '^%d+')) < revision then
      redis.call('HSET', KEYS[4], 'k ' .. ARGV[n], value)
    end
  end
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
