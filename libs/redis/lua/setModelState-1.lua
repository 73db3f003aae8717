--[[
Moves a model version to another state, if it is in one of the expected ones.

KEYS[1] model hash
ARGV[1] state   ARGV[2] reason   ARGV[3] channel   ARGV[4] notice   ARGV[5...] expected states; none: any

Returns 1, or 0 when the version is not registered or in no expected state.
]]
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 0 end
local expected = #ARGV < 5
for n = 5, #ARGV do
  if ARGV[n] == state then expected = true end
end
if not expected then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'reason', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
