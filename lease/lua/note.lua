-- note writes down that a lease was granted, so that the leases of a store can be listed. The list is
-- no proof: it may name leases that are over, for up to three times their ttl. It may run twice.
--
-- KEYS[1]  sh:{<store>}:l  zset  keys of leases, by the deadline in ms
-- ARGV[1]  key of the lease
-- ARGV[2]  how long it stays on the list, in ms
--
-- Returns  +
local KEEP = 345600000 -- more than three times the longest ttl: then nothing is on the list any more
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
-- In this order the list is never empty: a server that a slot leaves does not let a script touch a key that the
-- script deleted.
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], KEEP)
return '+'
