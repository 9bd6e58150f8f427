-- expire gives a segment the time at which it expires, in place of the one that it has, or takes that away.
--
-- KEYS[1]  deadlines
-- KEYS[2]  meta
-- ARGV[1]  incarnation
-- ARGV[2]  time to live in ms, which nothing renews; 0 for none
--
-- A repeat counts the time from its own arrival.
--
-- Returns  +<deadline in ms, or 0> · ABSENT · EXPIRED <incarnation> · OTHER <incarnation>
local sub = string.sub
local facts = redis.call('HMGET', KEYS[2], 'h', 'd')
local head = facts[1]
if not head then return 'ABSENT' end
local unknown = unknownLayout(head)
if unknown then return unknown end
if isGone(head) then return 'ABSENT' end
if incarnationOf(head) ~= ARGV[1] then return 'OTHER ' .. incarnationOf(head) end
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if isTimed(head) and now >= tonumber(facts[2]) then return 'EXPIRED ' .. incarnationOf(head) end
local prefix = sub(KEYS[1], 1, -2)
local member = 't' .. sub(KEYS[2], #prefix + 3)
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[1], member)
  redis.call('HDEL', KEYS[2], 'd', 'w')
  redis.call('HSET', KEYS[2], 'h', withState(head, stateOf(head), '-'))
  return '+0'
end
local deadline = string.format('%.0f', now + tonumber(ARGV[2]))
redis.call('ZADD', KEYS[1], deadline, member)
redis.call('HDEL', KEYS[2], 'w')
redis.call('HSET', KEYS[2], 'h', withState(head, stateOf(head), 't'), 'd', deadline)
return '+' .. deadline
