-- report puts an instance on the list of those that are there, and removes those that were not heard of
-- in time. It may run twice.
--
-- KEYS[1]  sh:{instances}:d  zset  instances, by deadline in ms
-- KEYS[2]  sh:{instances}:m  hash  what each says of itself, as JSON
-- ARGV[1]  id
-- ARGV[2]  how long the report counts, in ms; 0 takes the instance off the list
-- ARGV[3]  what it says
--
-- Returns  what all instances say together, "<appends> <deliveries> <errors> a second, <connections> <followers>";
--          empty where the instance leaves
local KEEP = 86400000
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
-- A server that a slot leaves does not let a script touch a key that the script deleted. So the instance is entered
-- before others go, and all that go do so in one command.
if ARGV[2] ~= '0' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[1], KEEP)
  redis.call('PEXPIRE', KEYS[2], KEEP)
end
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
if ARGV[2] == '0' then gone[#gone + 1] = ARGV[1] end
if gone[1] then
  redis.call('ZREM', KEYS[1], unpack(gone))
  redis.call('HDEL', KEYS[2], unpack(gone))
end
if ARGV[2] == '0' then return '' end
local sums = {0, 0, 0, 0, 0}
local fields = {'appends_per_second', 'deliveries_per_second', 'errors_per_second', 'connections', 'followers'}
local reports = redis.call('HGETALL', KEYS[2])
for n = 2, #reports, 2 do
  local ok, says = pcall(cjson.decode, reports[n])
  for i, name in ipairs(fields) do
    sums[i] = sums[i] + (ok and type(says) == 'table' and tonumber(says[name]) or 0)
  end
end
return string.format('%.1f %.1f %.1f %.0f %.0f', sums[1], sums[2], sums[3], sums[4], sums[5])
