-- settle notes that a generation has its verdict: nobody looks after it any more. It may run twice.
--
-- KEYS[1]  sh:T:la
-- KEYS[2]  sh:T:ls:<id>
-- KEYS[3]  sh:T:lw:<name>
-- ARGV[1]  id, escaped
-- ARGV[2]  generation
-- ARGV[3]  keep (as long as the session says) or remove
--
-- Returns  +
local name = ARGV[1] .. '~' .. ARGV[2]
call('ZREM', KEYS[1], name)
call('DEL', KEYS[3])
local s = call('HMGET', KEYS[2], 'g', 'k')
if s[1] == ARGV[2] then
  if ARGV[3] == 'remove' then
    call('DEL', KEYS[2])
  else
    call('HSET', KEYS[2], 'e', '1')
    call('PEXPIRE', KEYS[2], s[2])
  end
end
return '+'
