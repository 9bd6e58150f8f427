-- metadata replaces the metadata of a stream, for its producer.
--
-- KEYS[1]  sh:T:la
-- KEYS[2]  sh:T:ls:<id>
-- ARGV[1]  generation
-- ARGV[2]  metadata as JSON
--
-- Returns  + · ABSENT · ENDED · FENCED <generation>
local s = call('HMGET', KEYS[2], 'g', 'e')
if not s[1] then return 'ABSENT' end
if s[1] ~= ARGV[1] then return 'FENCED ' .. s[1] end
if s[2] then return 'ENDED' end
call('HSET', KEYS[2], 'm', ARGV[2])
return '+'
