--[[
Forgets a lane, if its document is still the one that was read.

KEYS[1] lane   KEYS[2] set of all lanes   KEYS[3] set of the worker's lanes   KEYS[4] the worker's holdings
ARGV[1] lane id   ARGV[2] document as it was read   ARGV[3] holder `worker:epoch:lane`

Returns 1, or 0 when the document changed meanwhile.
]]
local known = redis.call('GET', KEYS[1])
if known and known ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
local holders = redis.call('HGET', KEYS[4], ARGV[1])
if holders then
  redis.call('SREM', holders, ARGV[3])
  redis.call('HDEL', KEYS[4], ARGV[1])
end
return 1
