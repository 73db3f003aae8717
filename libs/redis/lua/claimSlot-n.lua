--[[
Takes the lowest free slot of a host and device: the worker's id, which it has again after a restart.

KEYS[1...] slots, lowest first
ARGV[1] token of the process   ARGV[2] time to live, ms   ARGV[3] '1': take a slot only if no lower one is taken

Returns the 0-based slot, or -1 when none may be taken.
]]
local free = nil
for n = 1, #KEYS do
  local holder = redis.call('GET', KEYS[n])
  if holder == ARGV[1] then
    redis.call('PEXPIRE', KEYS[n], ARGV[2])
    return n - 1
  end
  if not holder and not free then free = n end
end
if not free or (ARGV[3] == '1' and free > 1) then return -1 end
redis.call('SET', KEYS[free], ARGV[1], 'PX', ARGV[2])
return free - 1
