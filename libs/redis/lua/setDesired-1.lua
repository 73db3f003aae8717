--[[
Notes what the repository API asked for. Asked of a whole name, it replaces what was asked of single versions.

KEYS[1] desired hash
ARGV[1] name   ARGV[2] version, '' for all   ARGV[3] load or unload   ARGV[4] channel   ARGV[5] notice

Returns 1.
]]
if ARGV[2] == '' then
  local prefix = ARGV[1] .. '/'
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, #prefix) == prefix then redis.call('HDEL', KEYS[1], field) end
  end
end
redis.call('HSET', KEYS[1], ARGV[1] .. '/' .. ARGV[2], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
