-- confirm writes the head of a segment once more, as it is: a server that is asked how far replicas and disk are waits
-- for what the same connection wrote last, and for nothing on a connection that wrote nothing.
--
-- KEYS[1]  meta
-- ARGV[1]  incarnation
--
-- Returns  + · ABSENT · OTHER <incarnation>
local head = redis.call('HGET', KEYS[1], 'h')
if not head then return 'ABSENT' end
if incarnationOf(head) ~= ARGV[1] then return 'OTHER ' .. incarnationOf(head) end
redis.call('HSET', KEYS[1], 'h', head)
return '+'
