-- usage counts what was stored for a store and says what the store is taken to keep.
--
-- KEYS[1]  hash of the store: w bytes counted ever; b bytes when they were measured last; m what w was when that began;
--          a when that was, in ms; c until when nobody measures again, in ms
-- ARGV[1]  bytes to count
-- ARGV[2]  how many bytes the store may keep before it is measured again, 0 not to measure
-- ARGV[3]  for how long the caller measures at most, in ms
-- ARGV[4]  how old what was measured may become, in ms
--
-- Returns  {bytes kept, w, 1 if the caller is the one that measures, or 0, the time in ms}
local call, fmt = redis.call, string.format
local f = call('HMGET', KEYS[1], 'w', 'b', 'm', 'a', 'c')
local w = tonumber(f[1] or 0) + tonumber(ARGV[1])
local kept = math.max(0, tonumber(f[2] or 0) + w - tonumber(f[3] or 0))
local t = call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if ARGV[1] ~= '0' then call('HSET', KEYS[1], 'w', fmt('%.0f', w)) end
local measure = '0'
if ARGV[2] ~= '0' and now >= tonumber(f[5] or 0)
  and (not f[3] or kept >= tonumber(ARGV[2]) or now - tonumber(f[4] or 0) > tonumber(ARGV[4])) then
  call('HSET', KEYS[1], 'c', fmt('%.0f', now + tonumber(ARGV[3])))
  measure = '1'
end
return {fmt('%.0f', kept), fmt('%.0f', w), measure, fmt('%.0f', now)}
