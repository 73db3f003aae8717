--[[
Takes an idempotency key for a request, or tells who has it.

KEYS[1] idempotency key
ARGV[1] `<SHA-256 of the body> <request>`   ARGV[2] time to live, ms

Returns what the key holds: ARGV[1] when it was free.
]]
local known = redis.call('GET', KEYS[1])
if known then return known end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
