--[[
Moves the end of a blob's reservation, as its time to live was changed.

KEYS[1] reservations by expiry
ARGV[1] blob id   ARGV[2] bytes   ARGV[3] time to live from now, ms

Returns 1, or 0 when it is not reserved.
]]
local member = ARGV[1] .. ':' .. ARGV[2]
if not redis.call('ZSCORE', KEYS[1], member) then return 0 end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3]), member)
return 1
