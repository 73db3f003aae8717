--[[
Notes what the repository API asked for. Asked of a whole name, it replaces what was asked of single versions.

KEYS[1] desired hash
ARGV[1] name   ARGV[2] version, '' for all   ARGV[3] load or unload   ARGV[4] channel   ARGV[5] notice

Each wish has a number, above those of all earlier wishes for the name: by it workers say which one they have answered.
The clock of Redis makes it, so that it needs no key of its own.

Returns the number, as text: it has 16 digits.
]]
local time = redis.call('TIME')
local number = tonumber(time[1]) * 1000000 + tonumber(time[2])
for _, version in ipairs({ '', ARGV[2] }) do
  local before = redis.call('HGET', KEYS[1], ARGV[1] .. '/' .. version)
  local last = before and tonumber(string.match(before, '%d+') or '0') or 0
  if number <= last then number = last + 1 end
end
if ARGV[2] == '' then
  local prefix = ARGV[1] .. '/'
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, #prefix) == prefix then redis.call('HDEL', KEYS[1], field) end
  end
end
local text = string.format('%.0f', number)
redis.call('HSET', KEYS[1], ARGV[1] .. '/' .. ARGV[2], ARGV[3] .. ' ' .. text)
redis.call('PUBLISH', ARGV[4], ARGV[5])
return text
