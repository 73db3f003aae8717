--[[
Says that a worker lives, in which runtime epoch, and that it still is this process.

KEYS[1] epoch   KEYS[2] alive   KEYS[3] present   KEYS[4] slot   KEYS[5] set of workers
ARGV[1] epoch   ARGV[2] token, '' for none   ARGV[3] worker   ARGV[4] time to live of alive and slot, ms
ARGV[5] of present, ms   ARGV[6] of the epoch, ms

Returns 1, 0 when a later epoch has begun, or -1 when another process is this worker: nothing is changed.
]]
if ARGV[2] ~= '' then
  local holder = redis.call('GET', KEYS[4])
  if holder and holder ~= ARGV[2] then return -1 end
end
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if known > tonumber(ARGV[1]) then return 0 end

redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[6])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[4])
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[5])
if ARGV[2] ~= '' then redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[4]) end
redis.call('SADD', KEYS[5], ARGV[3])
return 1
