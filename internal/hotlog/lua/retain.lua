-- retain gives a closed segment the time at which it expires. Where it has one already, that stays.
--
-- KEYS[1]  deadlines
-- KEYS[2]  meta
-- ARGV[1]  incarnation
-- ARGV[2]  time to live in ms
--
-- Returns  +<deadline in ms> · OPEN · ABSENT · OTHER <incarnation>
local sub = string.sub
local facts = redis.call('HMGET', KEYS[2], 'h', 'd')
local head = facts[1]
if not head then return 'ABSENT' end
local unknown = unknownLayout(head)
if unknown then return unknown end
if isGone(head) then return 'ABSENT' end
if incarnationOf(head) ~= ARGV[1] then return 'OTHER ' .. incarnationOf(head) end
if stateOf(head) ~= 'c' then return 'OPEN' end
if isTimed(head) then return '+' .. facts[2] end
local t = redis.call('TIME')
local deadline = string.format('%.0f', tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000) + tonumber(ARGV[2]))
local prefix = sub(KEYS[1], 1, -2)
redis.call('ZADD', KEYS[1], deadline, 't' .. sub(KEYS[2], #prefix + 3))
redis.call('HSET', KEYS[2], 'h', withState(head, stateOf(head), 't'), 'd', deadline)
return '+' .. deadline
