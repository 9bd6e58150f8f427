-- resume lets the timeline of a space go on after what is archived. Repeating it changes nothing, as long as nothing
-- else has changed the space.
--
-- KEYS[1]    timeline
-- KEYS[2]    the space
-- ARGV[1]    the last timeline id that is archived
-- ARGV[2]    how many fields of the space follow, each with its value
-- then       segments and references of the last one
--
-- Returns  + · EXISTS: there is a timeline
local restored = ARGV[1] .. ' 0 restored'
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then
  return last[1] == ARGV[1] and redis.call('HGET', KEYS[2], 'a') == restored and '+' or 'EXISTS'
end
local fields = 2 + 2 * ARGV[2]
redis.call('XADD', KEYS[1], ARGV[1], unpack(ARGV, fields + 1))
redis.call('HSET', KEYS[2], 'f', ARGV[1], 'a', restored, unpack(ARGV, 3, fields))
return '+'
