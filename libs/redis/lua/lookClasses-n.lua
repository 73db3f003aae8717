--[[
Who holds shape classes, and how many jobs their queues have: all in one go, because each worker asks several times a
second.

KEYS[1] to KEYS[4] of the first class, and so on: holders, waiting jobs (list), active jobs (list), prioritized jobs (sorted set)

Returns per class: the number of jobs, then the holders.
]]
local classes = {}
for n = 1, #KEYS, 4 do
  local jobs = redis.call('LLEN', KEYS[n + 1]) + redis.call('LLEN', KEYS[n + 2]) + redis.call('ZCARD', KEYS[n + 3])
  local seen = redis.call('SMEMBERS', KEYS[n])
  table.insert(seen, 1, jobs)
  classes[#classes + 1] = seen
end
return classes
