--[[
Forgets a shape class that has neither lanes nor jobs: what BullMQ keeps of its empty queue, and its entry in the index.

KEYS[1] index of the model's classes   KEYS[2] holders of the class   KEYS[3] the model's padding
KEYS[4..6] waiting, active and paused jobs (lists)   KEYS[7..9] prioritized, delayed and failed jobs (sorted sets)
KEYS[10...] what else the queue left
ARGV[1] the class

Returns 1, or 0 where it has a holder or a job: nothing is changed.
]]
if redis.call('EXISTS', KEYS[2], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]) > 0 then return 0 end
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
for n = 10, #KEYS do redis.call('UNLINK', KEYS[n]) end
return 1
