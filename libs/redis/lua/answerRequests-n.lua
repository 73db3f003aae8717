--[[
Answers requests, each once, and tells the producers that wait for them. Two commands would lose answers when the worker dies
between them: the key exists, nobody was told, and the run after it does not answer because the key exists.

KEYS[1] reply   KEYS[2] the producer's stream   KEYS[3] result record of an asynchronous inference, if there is one; three of
each request
ARGV[1] time to live of the streams, ms   ARGV[2] about how many entries a stream keeps
ARGV[3] bytes up to which an answer itself stands in the stream
ARGV[4] answer   ARGV[5] its time to live, ms   ARGV[6] request; three of each request

Returns per request 1, or 0 when it was answered before.
]]
local written = {}
for n = 1, #KEYS / 3 do
  local reply, stream, result = KEYS[3 * n - 2], KEYS[3 * n - 1], KEYS[3 * n]
  local answer, ttl, request = ARGV[3 * n + 1], ARGV[3 * n + 2], ARGV[3 * n + 3]
  if redis.call('SET', reply, answer, 'PX', ttl, 'NX') then
    if #answer <= tonumber(ARGV[3]) then
      redis.call('XADD', stream, 'MAXLEN', '~', ARGV[2], '*', 'r', request, 'a', answer)
    else
      redis.call('XADD', stream, 'MAXLEN', '~', ARGV[2], '*', 'r', request)
    end
    redis.call('PEXPIRE', stream, ARGV[1])
    redis.call('PEXPIRE', result, ttl)
    written[n] = 1
  else
    written[n] = 0
  end
end
return written
