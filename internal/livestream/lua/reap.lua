-- reap decides that a generation is over because its producer is silent or superseded. Who is told
-- so writes the verdict. From then on no beat renews it. It may run twice.
--
-- KEYS[1]  sh:T:la
-- KEYS[2]  sh:T:ls:<id>
-- KEYS[3]  sh:T:lr
-- ARGV[1]  id, escaped
-- ARGV[2]  generation
--
-- Returns  LOST · SUPERSEDED <generation> · EARLY · SETTLED (it has its verdict)
local name = ARGV[1] .. '~' .. ARGV[2]
local deadline = call('ZSCORE', KEYS[1], name)
if not deadline then return 'SETTLED' end
local s = call('HMGET', KEYS[2], 'g', 'e', 'w')
if s[1] and s[1] ~= ARGV[2] then return 'SUPERSEDED ' .. s[1] end
if s[1] and not s[2] then
  if now < tonumber(deadline) then return 'EARLY' end
  -- A server that was away, or that nobody could reach, has heard nobody.
  local r = call('HMGET', KEYS[3], 'l', 's')
  if r[1] ~= reign() or now - tonumber(r[2]) < tonumber(s[3]) then return 'EARLY' end
  call('HSET', KEYS[2], 'e', 'lost')
end
return 'LOST'
