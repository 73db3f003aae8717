--[[
Takes members out of an index whose documents have expired. A document that came back meanwhile keeps its place.

KEYS[1] index set   KEYS[2...] documents
ARGV[1...] member of each document, in the same order

Returns how many members left.
]]
local removed = 0
for n = 2, #KEYS do
  if redis.call('EXISTS', KEYS[n]) == 0 then removed = removed + redis.call('SREM', KEYS[1], ARGV[n - 1]) end
end
return removed
