--[[
Marks the lanes of a worker that is gone STALE. Only what was read is overwritten, and only while the worker is still
away: a worker that returns in its epoch wins.

KEYS[1] present key of the worker   KEYS[2] alive key   KEYS[3] the worker's holdings   KEYS[4...] lanes
ARGV[1] time to live of the documents, ms   ARGV[2] channel   ARGV[3] worker
then per lane: id, document as it was read, new document, notice

Returns how many lanes were marked, or -1 when the worker is present.
]]
if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('EXISTS', KEYS[2]) == 1 then return -1 end
local marked = 0
for n = 4, #KEYS do
  local at = 4 + (n - 4) * 4
  if redis.call('GET', KEYS[n]) == ARGV[at + 1] then
    redis.call('SET', KEYS[n], ARGV[at + 2], 'PX', ARGV[1])
    redis.call('PUBLISH', ARGV[2], ARGV[at + 3])
    marked = marked + 1
  end
end
-- The worker is away, so nothing of it may be routed to, in whatever epoch.
for _, holders in ipairs(redis.call('HVALS', KEYS[3])) do
  for _, member in ipairs(redis.call('SMEMBERS', holders)) do
    if string.sub(member, 1, #ARGV[3] + 1) == ARGV[3] .. ':' then redis.call('SREM', holders, member) end
  end
end
redis.call('DEL', KEYS[3])
return marked
