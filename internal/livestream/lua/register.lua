-- register makes the caller the producer of a stream, under the next generation. It may run twice:
-- an owner registers once.
--
-- KEYS[1]  see session.lua
-- KEYS[2]  the session
-- ARGV[1]  id, escaped
-- ARGV[2]  owner, random
-- ARGV[3]  free (nobody may have it), once (nobody may ever have had it) or takeover
-- ARGV[4]  silence allowed, in ms
-- ARGV[5]  how long to keep it after its end, in ms
-- ARGV[6]  metadata as JSON, or ""
-- ARGV[7]  who produces, or ""
--
-- Returns  NEW <generation> <generation it takes over from, or 0>
--          EXISTS <generation>
local had = call('HMGET', KEYS[2], 'g', 'o', 'e')
local g, before = had[1], '0'
if g then
  if had[2] == ARGV[2] then return 'NEW ' .. g .. ' 0' end
  if ARGV[3] == 'once' or (ARGV[3] == 'free' and not had[3]) then return 'EXISTS ' .. g end
  if not had[3] then
    before = g
    call('ZADD', KEYS[1], 0, ARGV[1] .. '~' .. g)
  end
end
local new = text(math.max(tonumber(clock[1]) * 1000000 + tonumber(clock[2]), tonumber(g or 0) + 1))
call('ZADD', KEYS[1], text(now + tonumber(ARGV[4])), ARGV[1] .. '~' .. new)
call('DEL', KEYS[2])
call('HSET', KEYS[2], 'g', new, 'o', ARGV[2], 'w', ARGV[4], 'k', ARGV[5], 't', text(now))
if ARGV[6] ~= '' then call('HSET', KEYS[2], 'm', ARGV[6]) end
if ARGV[7] ~= '' then call('HSET', KEYS[2], 'b', ARGV[7]) end
return 'NEW ' .. new .. ' ' .. before
