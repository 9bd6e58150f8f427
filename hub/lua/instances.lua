-- instances lists what was heard of in time. It writes nothing.
--
-- KEYS[1], KEYS[2]  see report.lua
--
-- Returns  {what an instance says as JSON, …} in no order
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local reports = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf')) do
  local report = redis.call('HGET', KEYS[2], id)
  if report then reports[#reports + 1] = report end
end
return reports
