--[[
Takes holders out that can never be live again: their worker is gone, or in a later epoch.

KEYS[1] holders of a class   KEYS[2...] per member: present key, epoch key
ARGV[1...] per member: the member, its epoch

Returns how many left.
]]
local removed = 0
for n = 2, #KEYS, 2 do
  local member, epoch = ARGV[n - 1], tonumber(ARGV[n])
  local known = tonumber(redis.call('GET', KEYS[n + 1]) or '0')
  if known > epoch or redis.call('EXISTS', KEYS[n]) == 0 then
    removed = removed + redis.call('SREM', KEYS[1], member)
  end
end
return removed
