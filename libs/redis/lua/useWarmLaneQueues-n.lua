--[[
Notes that warm-up queues of workers are used now. Sets how many events each keeps as well: whoever adds to them is a
FlowProducer, and that sets BullMQ's 10,000 where it finds nothing.

KEYS[1] index of the queues by last use   KEYS[2...] settings of each queue
ARGV[1] events that a queue keeps   ARGV[2...] worker of each queue, in the same order

Returns the time of their use, ms.
]]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for n = 2, #KEYS do
  redis.call('ZADD', KEYS[1], now, ARGV[n])
  redis.call('HSET', KEYS[n], 'opts.maxLenEvents', ARGV[1])
end
return now
