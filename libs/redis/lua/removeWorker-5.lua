--[[
Forgets a worker that has closed, unless another process is it by now.

KEYS[1] slot   KEYS[2] alive   KEYS[3] present   KEYS[4] worker   KEYS[5] set of workers
ARGV[1] token, '' for none   ARGV[2] worker id   ARGV[3] channel   ARGV[4] notice

Returns 1, or 0 when another process is this worker.
]]
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('SREM', KEYS[5], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
