-- register makes the caller the producer of a stream, under the next generation. It may run twice:
-- an owner registers once.
--
-- KEYS[1]  sh:T:la
-- KEYS[2]  sh:T:ls:<id>
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
local had = call('HMGET', KEYS[2], 'g', 'o', 'e', 'p', 'k')
local g, before = had[1], '0'
if g then
  if had[2] == ARGV[2] then
    -- The answer to the first run may be lost, and with it that a generation has to be ended.
    if had[4] and call('ZSCORE', KEYS[1], ARGV[1] .. '~' .. had[4]) then before = had[4] end
    return 'NEW ' .. g .. ' ' .. before
  end
  if ARGV[3] == 'once' or (ARGV[3] == 'free' and not had[3]) then return 'EXISTS ' .. g end
  if not had[3] then
    before = g
    call('ZADD', KEYS[1], 0, ARGV[1] .. '~' .. g)
  end
end
local new = text(math.max(tonumber(clock[1]) * 1000000 + tonumber(clock[2]), tonumber(g or 0) + 1))
call('ZADD', KEYS[1], text(now + tonumber(ARGV[4])), ARGV[1] .. '~' .. new)
-- Not by DEL: a server that a slot leaves does not let a script write a key that the script deleted. A session that
-- was over expires; in a hundred years is never.
call('HSET', KEYS[2], 'g', new, 'o', ARGV[2], 'w', ARGV[4], 'k', ARGV[5], 't', text(now), 'm', ARGV[6], 'b', ARGV[7])
call('HDEL', KEYS[2], 'e', 'p', 'r')
if before ~= '0' then call('HSET', KEYS[2], 'p', before, 'r', had[5]) end
if had[3] then call('PEXPIRE', KEYS[2], '3153600000000') end
return 'NEW ' .. new .. ' ' .. before
