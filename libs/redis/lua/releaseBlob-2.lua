--[[
Gives back the bytes of a blob; one that nobody reserved (a producer's own) changes nothing.

KEYS[1] reservations by expiry   KEYS[2] sum of their bytes
ARGV[1] blob id   ARGV[2] bytes

Returns 1, or 0 when it was not reserved.
]]
if redis.call('ZREM', KEYS[1], ARGV[1] .. ':' .. ARGV[2]) == 0 then return 0 end
if redis.call('ZCARD', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
else
  redis.call('DECRBY', KEYS[2], ARGV[2])
end
return 1
