--[[
Registers a model version, or brings its registration up to date.

KEYS[1] model hash   KEYS[2] set of names   KEYS[3] set of the name's versions
ARGV[1] name   ARGV[2] version   ARGV[3] state   ARGV[4] reason   ARGV[5] digest, '' for none
ARGV[6] metadata JSON, '' for none   ARGV[7] config JSON   ARGV[8] registeredAt   ARGV[9] channel   ARGV[10] notice

A registration never takes a version out of LOADED or UNLOADED: another worker that starts, or cannot load its copy,
says nothing about the fleet. `wasReady`, `retired` and `registeredAt` stay.

Returns 1, or 0 when another digest is registered: nothing is changed.
]]
local known = redis.call('HMGET', KEYS[1], 'state', 'digest')
local state, digest = known[1], known[2]
if digest and digest ~= '' and ARGV[5] ~= '' and digest ~= ARGV[5] then return 0 end

if not state then
  redis.call('HSET', KEYS[1], 'wasReady', '0', 'retired', '0', 'registeredAt', ARGV[8])
end
if state ~= 'LOADED' and state ~= 'UNLOADED' then
  redis.call('HSET', KEYS[1], 'state', ARGV[3], 'reason', ARGV[4])
end
if not digest or digest == '' or ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'digest', ARGV[5]) end
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'metadata', ARGV[6], 'config', ARGV[7])
elseif not state then
  redis.call('HSET', KEYS[1], 'metadata', '', 'config', ARGV[7])
end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('PUBLISH', ARGV[9], ARGV[10])
return 1
