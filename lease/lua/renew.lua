-- renew lets the ttl start again for the one who has the lease.
--
-- KEYS[1], KEYS[2]  see value.lua
-- ARGV[1]  holder
-- ARGV[2]  ttl in ms
--
-- Returns  {renewed, token} · {lost}
-- Errors   CORRUPT <why>
local lease, counter, bad = state()
if bad then return bad end
if not lease or lease.holder ~= ARGV[1] then return {'lost'} end
grant(counter, lease.token, ARGV[2], ARGV[1])
return {'renewed', lease.token}
