-- leave takes a worker off the list, if its holder asks. It may run twice.
--
-- KEYS[1], KEYS[2]  see workers.lua
-- ARGV[1]  id
-- ARGV[2]  holder
--
-- Returns  + · NONE: the holder does not have it on the list
local had, bad = known(ARGV[1])
if bad then return bad end
if not had or had.holder ~= ARGV[2] then return 'NONE' end
forget(ARGV[1])
tell()
return '+'
