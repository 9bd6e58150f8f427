-- release ends the lease of its holder.
--
-- KEYS[1], KEYS[2]  see value.lua
-- ARGV[1]  holder
--
-- Returns  {released} · {none}   none: the holder did not have the lease
-- Errors   CORRUPT <why>
local lease, counter, bad = state()
if bad then return bad end
if lease and lease.holder == ARGV[1] then
  keep(counter, lease.token)
  redis.call('DEL', KEYS[1])
  return {'released'}
end
return {'none'}
