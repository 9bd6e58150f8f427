-- restore writes the meta of a segment whose entries are all archived. Repeating it changes nothing. A
-- meta with many fields takes several calls; the segment exists once the last one has written its head.
--
-- KEYS[1]    inventory
-- KEYS[2]    deadlines
-- KEYS[3]    meta
-- KEYS[4]    set of the forks of its parent, if it is a fork
-- ARGV[1]    incarnation
-- ARGV[2]    "<deadline in ms> <member of the deadlines>", or ""
-- ARGV[3]    its member in KEYS[4], or ""
-- ARGV[4…]   fields and values; without h among them more calls follow
--
-- Returns  + · EXISTS: there is another one
local prefix = string.sub(KEYS[1], 1, -2)
local segment = string.sub(KEYS[3], #prefix + 3)
local head = redis.call('HGET', KEYS[3], 'h')
if head and incarnationOf(head) ~= ARGV[1] then return 'EXISTS' end
local complete = head
-- One field a call: there is no bound on how many a segment has, but one on what unpack returns.
for i = 4, head and 0 or #ARGV, 2 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  if string.sub(ARGV[i], 1, 3) == 'p:~' then -- of an appender, which is forgotten after a day; the first one due counts
    local due = tonumber(string.match(ARGV[i + 1], '(%d+)$')) + APPENDER_IDLE
    redis.call('ZADD', KEYS[2], 'LT', string.format('%.0f', due), 'p' .. segment)
  end
  if ARGV[i] == 'h' then complete = ARGV[i + 1] end
end
if not complete then return '+' end
local name = string.gsub(segment, '%%(%x%x)', function(x) return string.char(tonumber(x, 16)) end)
if stateOf(complete) ~= 'd' then redis.call('ZADD', KEYS[1], 0, name) end
if ARGV[2] ~= '' then redis.call('ZADD', KEYS[2], string.match(ARGV[2], '^(%S+) (.*)$')) end
if ARGV[3] ~= '' then redis.call('SADD', KEYS[4], ARGV[3]) end
return '+'
