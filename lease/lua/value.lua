-- value stands in front of every other script here: how a lease is kept.
--
-- KEYS[1]  lease    string "1 <token> <ttl in ms> <holder>" that expires; 1 is the layout
-- KEYS[2]  counter  string "1 <last token>", kept for 7 days after its last use; by then the clock
--                   gives higher tokens
--
-- Errors   CORRUPT <why>   a key holds what no script of this layout wrote
local KEEP = '604800000'
local MAX_TTL = 86400000

local function read(key, pattern)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then return nil, redis.error_reply('CORRUPT ' .. key .. ': ' .. value.err) end
  if not value then return nil end
  local fields = {string.match(value, pattern)}
  if not fields[1] then return nil, redis.error_reply('CORRUPT ' .. key .. ' has an unknown layout') end
  return fields
end

-- state returns the lease, nil if it is free, and the counter; or an error reply as third value.
-- The lease says how many ms are left, never more than it was granted for: if the clock was set
-- back its expiry is too far away. It is stale if no call can have given it the expiry it has.
local function state()
  local lease, counter, found, bad
  found, bad = read(KEYS[2], '^1 (%d+)$')
  if bad then return nil, nil, bad end
  counter = found and found[1] or '0'
  found, bad = read(KEYS[1], '^1 (%d+) (%d+) (.+)$')
  if bad then return nil, nil, bad end
  if found then
    lease = {token = found[1], holder = found[3], left = redis.call('PTTL', KEYS[1])}
    lease.stale = lease.left < 0 or lease.left > MAX_TTL
    lease.late = lease.left > tonumber(found[2])
    if lease.stale then lease.left = 0 elseif lease.late then lease.left = tonumber(found[2]) end
  end
  return lease, counter
end

local function keep(counter, token)
  if tonumber(counter) > tonumber(token) then token = counter end
  redis.call('SET', KEYS[2], '1 ' .. token, 'PX', KEEP)
end

local function grant(counter, token, ttl, holder)
  redis.call('SET', KEYS[1], '1 ' .. token .. ' ' .. ttl .. ' ' .. holder, 'PX', ttl)
  keep(counter, token)
end

