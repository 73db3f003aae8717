--[[
Reserves bytes for a blob, and gives back up to 100 reservations that have expired.

KEYS[1] reservations by expiry   KEYS[2] sum of their bytes
ARGV[1] blob id   ARGV[2] bytes   ARGV[3] limit, bytes   ARGV[4] time to live, ms

Returns 1, or 0 when the limit would be passed. The same blob is reserved once.
]]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local member = ARGV[1] .. ':' .. ARGV[2]
if redis.call('ZSCORE', KEYS[1], member) then return 1 end

local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)
local given = 0
for _, old in ipairs(expired) do
  given = given + tonumber(string.match(old, ':(%d+)$'))
  redis.call('ZREM', KEYS[1], old)
end
local used = tonumber(redis.call('GET', KEYS[2]) or '0') - given
-- Nothing is reserved: start from 0, whatever the counter says.
if redis.call('ZCARD', KEYS[1]) == 0 then used = 0 end

local fits = used + tonumber(ARGV[2]) <= tonumber(ARGV[3])
if fits then
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), member)
  used = used + tonumber(ARGV[2])
end
if used == 0 then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], string.format('%.0f', used))
end
if fits then return 1 end
return 0
