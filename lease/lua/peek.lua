-- peek tells who has the lease. It writes nothing.
--
-- KEYS[1], KEYS[2]  see value.lua
--
-- Returns  {held, token, holder, left in ms} · {free}   left is 0 if the next one to ask gets it
-- Errors   CORRUPT <why>
local lease, _, bad = state()
if bad then return bad end
if not lease then return {'free'} end
return {'held', lease.token, lease.holder, string.format('%.0f', lease.left)}
