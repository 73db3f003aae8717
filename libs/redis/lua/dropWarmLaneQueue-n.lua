--[[
Forgets the warm-up queue of a worker that is not known any more: its finished jobs, then what BullMQ keeps of a queue
without jobs. It leaves the index with the last that there is of the worker's lanes, so that these are looked for so long.

KEYS[1] index of the queues by last use
KEYS[2..5] of the worker: document, present, alive, slot   KEYS[6..11] jobs that have not ended
KEYS[12] completed jobs   KEYS[13] failed jobs   KEYS[14] set of the worker's lanes   KEYS[15...] what else the queue left
ARGV[1] worker   ARGV[2] ms since the last use   ARGV[3] what the keys of the queue's jobs begin with   ARGV[4] jobs per call

Returns 0 where the queue is in use: nothing is changed; 1 when it is gone; 2 when jobs are left for another call.
]]
local used = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not used then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if now - tonumber(used) < tonumber(ARGV[2]) then return 0 end
for n = 2, 11 do
  if redis.call('EXISTS', KEYS[n]) == 1 then return 0 end
end

local most = tonumber(ARGV[4])
for n = 12, 13 do
  for _, job in ipairs(redis.call('ZRANGE', KEYS[n], 0, most - 1)) do
    local key = ARGV[3] .. job
    redis.call('UNLINK', key, key .. ':logs', key .. ':dependencies', key .. ':processed', key .. ':failed',
      key .. ':unsuccessful')
  end
  redis.call('ZREMRANGEBYRANK', KEYS[n], 0, most - 1)
end
if redis.call('EXISTS', KEYS[12], KEYS[13]) > 0 then return 2 end

for n = 15, #KEYS do redis.call('UNLINK', KEYS[n]) end
if redis.call('EXISTS', KEYS[14]) == 0 then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1
