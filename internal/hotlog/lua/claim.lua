-- claim makes a holder the owner of the archive of a space. Repeating it changes nothing. A space that was
-- never begun is left alone: it may have been removed a moment ago, with its archive.
--
-- KEYS[1]  the space; its field a is "<position> <token> <holder>"
-- ARGV[1]  token, and ARGV[2] holder of a lease
-- ARGV[3]  '1' to claim also what was never begun
--
-- Returns  +<position> <first timeline id kept, or 0-0> <lineage>
--          ABSENT: it was never begun
--          FENCED <token>: a higher one was seen, or the same of another holder
local facts = redis.call('HMGET', KEYS[1], 'a', 'f', 's')
if not facts[1] and not facts[3] and ARGV[3] ~= '1' then return 'ABSENT' end
local position, token, holder = string.match(facts[1] or '', '^(%S+) (%d+) (.*)$')
if token and (tonumber(token) > tonumber(ARGV[1]) or (token == ARGV[1] and holder ~= ARGV[2])) then
  return 'FENCED ' .. token
end
redis.call('HSET', KEYS[1], 'a', (position or '0-0') .. ' ' .. ARGV[1] .. ' ' .. ARGV[2])
return '+' .. (position or '0-0') .. ' ' .. (facts[2] or facts[3] or '0-0') .. ' ' .. reign()
