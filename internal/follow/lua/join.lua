-- join puts a worker on the list, or keeps it there. It may run twice.
--
-- KEYS[1], KEYS[2]  see workers.lua
-- ARGV[1]  id
-- ARGV[2]  holder: who keeps it there
-- ARGV[3]  ttl in ms
-- ARGV[4]  metadata as JSON
-- ARGV[5]  join (takes it over from another holder) or renew
--
-- Returns  +
--          LOST   renew: another holder has taken it over
local had, bad = known(ARGV[1])
if bad then return bad end
if had and had.holder ~= ARGV[2] and ARGV[5] == 'renew' then return 'LOST' end
local gone = late()
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], '1 ' .. ARGV[2] .. ' ' .. string.format('%.0f', now) .. ' ' .. ARGV[4])
redis.call('PEXPIRE', KEYS[1], KEEP)
redis.call('PEXPIRE', KEYS[2], KEEP)
for _, id in ipairs(gone) do
  if id ~= ARGV[1] then forget(id) end
end
if #gone > 0 or not had or had.metadata ~= ARGV[4] then tell() end
return '+'
