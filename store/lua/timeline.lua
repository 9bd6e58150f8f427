-- timeline removes the start of the timeline of a space: changes whose entries have all gone.
--
-- KEYS[1]  timeline
-- KEYS[2]  the space
-- ARGV[1]  the first timeline id to keep; the last one of all always stays
--
-- Returns  how many went
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last == 0 then return 0 end
local keep = ARGV[1]
local ms, n = string.match(keep, '^(%d+)-(%d+)$')
local lms, ln = string.match(last[1][1], '^(%d+)-(%d+)$')
if tonumber(lms) < tonumber(ms) or (lms == ms and tonumber(ln) < tonumber(n)) then keep = last[1][1] end
local gone = redis.call('XTRIM', KEYS[1], 'MINID', '=', keep)
if gone > 0 then
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
  redis.call('HSET', KEYS[2], 'f', first[1][1])
end
return gone
