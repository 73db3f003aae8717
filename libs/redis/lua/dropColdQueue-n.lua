--[[
Forgets what BullMQ keeps of a model's cold queue that has no jobs and that nobody consumes, with failed jobs that were
kept long enough.

KEYS[1..6] jobs that have not ended   KEYS[7] mark of the last check for stalled jobs   KEYS[8] failed jobs (sorted set)
KEYS[9...] what else the queue left
ARGV[1] ms that a failed job is kept   ARGV[2] what the keys of the queue's jobs begin with

Returns 1, or 0 where it has a job or a consumer: nothing else is changed.
]]
-- Whoever consumes it makes the check as it begins, and every 2 s; the mark lives as long.
for n = 1, 7 do
  if redis.call('EXISTS', KEYS[n]) == 1 then return 0 end
end

local time = redis.call('TIME')
local before = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(ARGV[1])
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[8], '-inf', before)) do
  redis.call('UNLINK', ARGV[2] .. job, ARGV[2] .. job .. ':logs')
  redis.call('ZREM', KEYS[8], job)
end
if redis.call('EXISTS', KEYS[8]) == 1 then return 0 end

for n = 9, #KEYS do redis.call('UNLINK', KEYS[n]) end
return 1
