--[[
Creates a warm-up and adds its shapes to the plan, unless the same request has an unfinished one. The shapes it names are
held back no longer.

KEYS[1] digest of the request   KEYS[2] warm-up   KEYS[3] set of unfinished warm-ups   KEYS[4] plan
ARGV[1] id   ARGV[2] request JSON   ARGV[3] digest   ARGV[4] time to live of the digest, ms
ARGV[5] time to live of the document, ms   ARGV[6] JSON by which it names each shape
ARGV[7] channel   ARGV[8] notice of the warm-up   ARGV[9] notice of the plan   ARGV[10...] shape keys

Returns the id of the warm-up that stands for the request.
]]
local known = redis.call('GET', KEYS[1])
if known then
  -- Redis may have lost the document and kept the digest: then a new warm-up stands for the request.
  local documents = string.sub(KEYS[2], 1, #KEYS[2] - #ARGV[1])
  if redis.call('EXISTS', documents .. known) == 1 then return known end
end

local planned = {}
local fields = redis.call('HKEYS', KEYS[4])
for _, field in ipairs(fields) do
  local kind, shape = string.match(field, '^([dkw]) ([^ ]+)')
  if kind then planned[shape] = true end
end
local revision = redis.call('HINCRBY', KEYS[4], 'revision', 1)
local added, named = {}, {}
for n = 10, #ARGV do
  local shape = ARGV[n]
  named[shape] = true
  if not planned[shape] then added[#added + 1] = shape end
  redis.call('HSET', KEYS[4], 'w ' .. shape .. ' ' .. ARGV[1], revision .. ' ' .. ARGV[6])
end
for _, field in ipairs(fields) do
  local shape = string.match(field, '^h ([^ ]+)')
  if shape and named[shape] then redis.call('HDEL', KEYS[4], field) end
end

redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
redis.call('HSET', KEYS[2], 'request', ARGV[2], 'digest', ARGV[3], 'added', table.concat(added, ' '),
  'generation', '0', 'assignments', '[]', 'canceled', '0')
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('PUBLISH', ARGV[7], ARGV[8])
redis.call('PUBLISH', ARGV[7], ARGV[9])
return ARGV[1]
