--[[
Lets go of an idempotency key, or keeps it for a while longer, if this request has it.

KEYS[1] idempotency key
ARGV[1] `<SHA-256 of the body> <request>`   ARGV[2] time to live from now in ms, '0' to delete

Returns 1, or 0 when another request has it.
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
