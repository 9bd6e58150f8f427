-- acquire grants a lease that is free, and extends it for the one who has it.
--
-- KEYS[1], KEYS[2]  see value.lua
-- ARGV[1]  holder
-- ARGV[2]  ttl in ms
--
-- Returns  {granted, token}               the token is the former one if the holder had the lease
--          {held, token, holder, left}    another one has it, for that many ms
-- Errors   CORRUPT <why>                  also when the tokens have reached 2^53
local lease, counter, bad = state()
if bad then return bad end
local holder, ttl = ARGV[1], ARGV[2]

if lease and lease.holder == holder then
  grant(counter, lease.token, ttl, holder)
  return {'granted', lease.token}
end

if lease and not lease.stale then
  local left = string.format('%.0f', lease.left)
  if lease.late then redis.call('PEXPIRE', KEYS[1], left) end
  return {'held', lease.token, lease.holder, left}
end

local last = math.max(tonumber(counter), lease and tonumber(lease.token) or 0)
local time = redis.call('TIME')
local token = math.max(last + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
if token > 9007199254740991 then return redis.error_reply('CORRUPT ' .. KEYS[2] .. ': no token is left') end
token = string.format('%.0f', token)
grant(counter, token, ttl, holder)
return {'granted', token}
