-- workers stands in front of every other script here: how the workers of a store are kept.
--
-- KEYS[1]  workers by deadline  zset of ids, score in ms
-- KEYS[2]  what is known of them  hash id -> "1 <holder> <last seen in ms> <metadata as JSON>"; 1
--          is the layout
-- The channel "<KEYS[1]>:n" hears of each change; the message says nothing.
--
-- Errors  CORRUPT <why>   a value that no script of this layout wrote
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local KEEP = 172800000

local function known(id)
  local value = redis.call('HGET', KEYS[2], id)
  if not value then return nil end
  local holder, seen, metadata = string.match(value, '^1 (%S+) (%d+) (.*)$')
  if not holder then return nil, redis.error_reply('CORRUPT ' .. KEYS[2] .. ' has an unknown layout') end
  return {holder = holder, seen = seen, metadata = metadata}
end

local function forget(id)
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
end

-- late returns those whose deadline has passed. To forget the last one deletes the keys, and a server that a slot leaves
-- does not let a script touch a key that the script deleted: so that comes last.
local function late() return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now)) end

local function tell() redis.pcall('PUBLISH', KEYS[1] .. ':n', '') end
