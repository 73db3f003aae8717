--[[
Notes what a worker says about a wish to load a model. What it says of an older wish, or says late that it has begun, does
not take back what stands.

KEYS[1] hash of the answers about the name
ARGV[1] worker   ARGV[2] number of the wish   ARGV[3] none, found or done   ARGV[4] time to live, ms   ARGV[5] channel
ARGV[6] notice

Returns 1, or 0 when a later answer stands.
]]
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before then
  local number = tonumber(string.match(before, '^%d+') or '0')
  if number > tonumber(ARGV[2]) or (number == tonumber(ARGV[2]) and ARGV[3] == 'found') then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
