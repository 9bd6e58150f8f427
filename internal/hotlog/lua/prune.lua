-- prune forgets the rows of appenders that were idle for a day. Rows of named producers stay.
--
-- KEYS[1]  deadlines
-- KEYS[2]  meta
--
-- Returns  how many rows went
local prefix = string.sub(KEYS[1], 1, -2)
local member = 'p' .. string.sub(KEYS[2], #prefix + 3)
local t = redis.call('TIME')
local limit = tonumber(t[1]) * 1000 - APPENDER_IDLE
local fields = redis.call('HGETALL', KEYS[2])
local gone, oldest = 0, nil
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 3) == 'p:~' then
    local ts = tonumber(string.match(fields[i + 1], '(%d+)$'))
    if ts <= limit then
      redis.call('HDEL', KEYS[2], fields[i])
      gone = gone + 1
    elseif not oldest or ts < oldest then
      oldest = ts
    end
  end
end
if oldest then
  redis.call('ZADD', KEYS[1], string.format('%.0f', oldest + APPENDER_IDLE), member)
else
  redis.call('ZREM', KEYS[1], member)
end
return gone
