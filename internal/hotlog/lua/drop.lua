-- drop removes what a space without segments has left: its timeline and what is known of it. Tombstones stay for
-- their day. Repeating it changes nothing.
--
-- KEYS[1]  timeline
-- KEYS[2]  the space
-- KEYS[3]  inventory
-- KEYS[4]  deadlines
-- ARGV[1]  owner of the archive, "<token> <holder>"; empty for a space of which nothing is archived
--
-- Returns  + · BUSY: it has segments
--          FENCED <token>: another one owns the archive
--          ARCHIVED: some of it is archived, and no owner is named
local call = redis.call
if #call('ZRANGEBYLEX', KEYS[3], '-', '+', 'LIMIT', 0, 1) > 0 or #call('ZRANGEBYSCORE', KEYS[4], '-inf', '+inf', 'LIMIT', 0, 1) > 0 then
  return 'BUSY'
end
local position, owner = string.match(call('HGET', KEYS[2], 'a') or '', '^(%S+) (.*)$')
if ARGV[1] == '' then
  if position and position ~= '0-0' then return 'ARCHIVED' end
elseif owner and owner ~= ARGV[1] then
  return 'FENCED ' .. string.match(owner, '^%d+')
end
call('UNLINK', KEYS[1])
call('DEL', KEYS[2])
return '+'
