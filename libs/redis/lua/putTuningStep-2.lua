--[[
Writes the trial that is about to begin, or clears it, as the holder of the claim.

KEYS[1] claim   KEYS[2] step
ARGV[1] token   ARGV[2] document, '' to clear   ARGV[3] time to live, ms

Returns 1, or 0 when another one has the claim, or nobody.
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return 1
