-- timeline removes the start of the timeline of a space that is archived.
--
-- KEYS[1]  timeline
-- KEYS[2]  the space
-- ARGV[1]  the first timeline id to keep; the last one of all always stays
-- ARGV[2]  owner of the archive
--
-- Returns  how many went
local function before(a, b)
  local ams, an = string.match(a, '^(%d+)-(%d+)$')
  local bms, bn = string.match(b, '^(%d+)-(%d+)$')
  return tonumber(ams) < tonumber(bms) or (ams == bms and tonumber(an) < tonumber(bn))
end
local position, owner = string.match(redis.call('HGET', KEYS[2], 'a') or '', '^(%S+) (.*)$')
if owner ~= ARGV[2] then return 0 end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last == 0 then return 0 end
local keep = ARGV[1]
if before(last[1][1], keep) then keep = last[1][1] end
if before(position, keep) then keep = position end
local gone = redis.call('XTRIM', KEYS[1], 'MINID', '=', keep)
if gone > 0 then
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
  redis.call('HSET', KEYS[2], 'f', first[1][1])
end
return gone
