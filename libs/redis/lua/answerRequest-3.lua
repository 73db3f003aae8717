--[[
Answers a request, once, and tells the producer that waits for it. Two commands would lose answers when the worker dies
between them: the key exists, nobody was told, and the run after it does not answer because the key exists.

KEYS[1] reply   KEYS[2] the producer's stream   KEYS[3] result record of an asynchronous inference, if there is one
ARGV[1] answer   ARGV[2] time to live, ms   ARGV[3] request   ARGV[4] time to live of the stream, ms
ARGV[5] about how many entries the stream keeps   ARGV[6] bytes up to which the answer itself stands in the stream

Returns 1, or 0 when the request was answered before.
]]
if not redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 0 end
if #ARGV[1] <= tonumber(ARGV[6]) then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'r', ARGV[3], 'a', ARGV[1])
else
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'r', ARGV[3])
end
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return 1
