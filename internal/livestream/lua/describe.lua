-- describe tells what is known of a stream. It writes nothing.
--
-- KEYS[1]  see session.lua
-- KEYS[2]  the session
-- ARGV[1]  id, escaped
--
-- Returns  ABSENT
--          {generation, start in ms, ms to keep it, readers, 1 once it is over or 0, metadata or "",
--           who produces or ""}
local s = call('HMGET', KEYS[2], 'g', 't', 'k', 'e', 'm', 'b')
if not s[1] then return 'ABSENT' end
return {s[1], s[2], s[3], text(viewers(ARGV[1] .. '~' .. s[1])), s[4] and '1' or '0', s[5] or '', s[6] or ''}
