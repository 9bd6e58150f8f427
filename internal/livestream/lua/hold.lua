-- hold says that the remote producer of a generation is there. It may run twice.
--
-- KEYS[1]  sh:T:la
-- KEYS[2]  sh:T:ls:<id>
-- ARGV[1]  id, escaped
-- ARGV[2]  generation
-- ARGV[3]  owner
-- ARGV[4]  silence allowed from now on, in ms, or "" for what was allowed
--
-- Returns  + <silence allowed in ms> · ABSENT · DENIED (it is another's) · ENDED
--          FENCED <generation>  another generation is in force
local s = call('HMGET', KEYS[2], 'g', 'o', 'e', 'w')
if not s[1] then return 'ABSENT' end
if s[1] ~= ARGV[2] then return 'FENCED ' .. s[1] end
if s[2] ~= ARGV[3] then return 'DENIED' end
if s[3] then return 'ENDED' end
local silence = s[4]
if ARGV[4] ~= '' then
  silence = ARGV[4]
  call('HSET', KEYS[2], 'w', silence)
end
call('ZADD', KEYS[1], text(now + tonumber(silence)), ARGV[1] .. '~' .. ARGV[2])
return '+ ' .. silence
