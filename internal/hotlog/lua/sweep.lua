-- sweep removes entries from the timeline of a space that name nothing any more. Repeating it changes
-- nothing. It leaves a space alone whose timeline goes to the archive.
--
-- KEYS[1]    timeline
-- KEYS[2]    the space
-- ARGV[1]    the last change among them whose entries were trimmed, "<timeline id> <index> <last>", or ""
-- ARGV[2]    how far the pass over the timeline has come, see sweep.go
-- ARGV[3…]   timeline ids, in order; the last one of the timeline stays
--
-- Returns  how many went
local call, match = redis.call, string.match
local function before(a, b)
  local ams, an = match(a, '^(%d+)-(%d+)')
  local bms, bn = match(b, '^(%d+)-(%d+)')
  return tonumber(ams) < tonumber(bms) or (ams == bms and tonumber(an) < tonumber(bn))
end
local facts = call('HMGET', KEYS[2], 'a', 'w', 't')
local last = call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if facts[1] or #last == 0 then return 0 end
local to = #ARGV
while to > 2 and not before(ARGV[to], last[1][1]) do to = to - 1 end
local gone = to > 2 and call('XDEL', KEYS[1], unpack(ARGV, 3, to)) or 0
call('HSET', KEYS[2], 'n', ARGV[2])
if gone == 0 then return 0 end
local first = call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
call('HSET', KEYS[2], 'f', first[1][1])
if not facts[2] or before(facts[2], ARGV[to]) then call('HSET', KEYS[2], 'w', ARGV[to]) end
if ARGV[1] ~= '' and before(ARGV[1], last[1][1]) and (not facts[3] or before(facts[3], ARGV[1])) then
  call('HSET', KEYS[2], 't', ARGV[1])
end
return gone
