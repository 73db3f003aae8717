--[[
Replaces the declared part of a warm plan. Workers that read the same yaml do so once: while the digest of the declared
entries is the stored one nothing happens, so a shape that was taken out by hand stays out until the yaml changes.

KEYS[1] plan hash
ARGV[1] digest   ARGV[2] channel   ARGV[3] notice   ARGV[4...] shape key and its JSON, in pairs

Returns 1 when the plan changed, else 0.
]]
if redis.call('HGET', KEYS[1], 'declared') == ARGV[1] then return 0 end

local declared = {}
for n = 4, #ARGV, 2 do declared[ARGV[n]] = ARGV[n + 1] end

-- A shape stays (with what holds it back) while it is declared, kept, or named by an unfinished warm-up.
local named = {}
local fields = redis.call('HKEYS', KEYS[1])
for _, field in ipairs(fields) do
  local kind, shape = string.match(field, '^([kw]) ([^ ]+)')
  if kind then named[shape] = true end
end
for _, field in ipairs(fields) do
  local kind, shape = string.match(field, '^([dh]) ([^ ]+)')
  if (kind == 'd' and not declared[shape]) or (kind == 'h' and not declared[shape] and not named[shape]) then
    redis.call('HDEL', KEYS[1], field)
  end
end
local revision = redis.call('HINCRBY', KEYS[1], 'revision', 1)
redis.call('HSET', KEYS[1], 'declared', ARGV[1])
for shape, json in pairs(declared) do redis.call('HSET', KEYS[1], 'd ' .. shape, revision .. ' ' .. json) end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
