--[[
Forgets a shape class that has neither lanes nor jobs: what BullMQ keeps of its empty queue, and its entry in the index.
Failed jobs that were kept long enough go with it: BullMQ itself removes them only when another one fails.

KEYS[1] index of the model's classes   KEYS[2] holders of the class   KEYS[3] the model's padding
KEYS[4..9] jobs of its queue that have not ended   KEYS[10] failed jobs (sorted set)   KEYS[11...] what else the queue left
ARGV[1] the class   ARGV[2] ms that a failed job is kept   ARGV[3] what the keys of the queue's jobs begin with

Returns 1, or 0 where it has a holder or a job: nothing else is changed.
]]
for n = 4, 9 do
  if redis.call('EXISTS', KEYS[n]) == 1 then return 0 end
end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end

local time = redis.call('TIME')
local before = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(ARGV[2])
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[10], '-inf', before)) do
  redis.call('UNLINK', ARGV[3] .. job, ARGV[3] .. job .. ':logs')
  redis.call('ZREM', KEYS[10], job)
end
if redis.call('EXISTS', KEYS[10]) == 1 then return 0 end

redis.call('SREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
for n = 11, #KEYS do redis.call('UNLINK', KEYS[n]) end
return 1
