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
if sub(head, 1, 1) ~= '1' then return 'LAYOUT ' .. sub(head, 1, 1) end
if sub(head, 42, 42) == 'x' or sub(head, 42, 42) == 'd' then return 'ABSENT' end
if sub(head, 2, 17) ~= ARGV[1] then return 'OTHER ' .. sub(head, 2, 17) end
if sub(head, 42, 42) ~= 'c' then return 'OPEN' end
if sub(head, 43, 43) == 't' then return '+' .. facts[2] end
local t = redis.call('TIME')
local deadline = string.format('%.0f', tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000) + tonumber(ARGV[2]))
local prefix = sub(KEYS[1], 1, -2)
redis.call('ZADD', KEYS[1], deadline, 't' .. sub(KEYS[2], #prefix + 3))
redis.call('HSET', KEYS[2], 'h', sub(head, 1, 42) .. 't' .. sub(head, 44), 'd', deadline)
return '+' .. deadline
