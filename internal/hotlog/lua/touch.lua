-- touch renews a sliding time to live. It writes only when a tenth of the window has passed.
--
-- KEYS[1]  deadlines
-- KEYS[2]  meta
-- ARGV[1]  incarnation
--
-- Returns  +<deadline in ms, or 0> · ABSENT · EXPIRED <incarnation> · OTHER <incarnation>
local sub = string.sub
local facts = redis.call('HMGET', KEYS[2], 'h', 'd', 'w')
local head = facts[1]
if not head then return 'ABSENT' end
local unknown = unknownLayout(head)
if unknown then return unknown end
if isGone(head) then return 'ABSENT' end
if incarnationOf(head) ~= ARGV[1] then return 'OTHER ' .. incarnationOf(head) end
if not isTimed(head) then return '+0' end
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if now >= tonumber(facts[2]) then return 'EXPIRED ' .. incarnationOf(head) end
if not facts[3] then return '+' .. facts[2] end
local ttl = tonumber(facts[3])
if tonumber(facts[2]) - now > ttl * 0.9 then return '+' .. facts[2] end
local deadline = string.format('%.0f', now + ttl)
local prefix = sub(KEYS[1], 1, -2)
redis.call('HSET', KEYS[2], 'd', deadline)
redis.call('ZADD', KEYS[1], deadline, 't' .. sub(KEYS[2], #prefix + 3))
return '+' .. deadline
