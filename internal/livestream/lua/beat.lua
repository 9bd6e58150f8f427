-- beat is what an instance says of a space from time to time: which generations it produces and how
-- many readers it has. It hears whose producers are silent.
--
-- KEYS[1]  sh:T:la
-- KEYS[2]  sh:T:lr
-- KEYS[3]  sh:T:lw
-- KEYS[4…]  for each generation sh:T:ls:<id>, and sh:T:lw:<name> to be told its readers; then for each count both
-- ARGV[1]  longest time between two beats in ms; where nobody was heard for longer, everybody was
--          cut off, and all silence is counted anew
-- ARGV[2]  instance
-- ARGV[3]  how long its counts hold, in ms
-- ARGV[4]  how many silent ones to pass over
-- ARGV[5]  number of generations that follow, four arguments each: id, generation, owner, and 1 to
--          be told its readers
-- …        counts that changed, three arguments each: id, generation, readers
--
-- Returns  the next deadline in ms, or 0, and now; then a line for each generation and for each
--          silent one
--          + <readers> · FENCED <generation> · ENDED · GONE (there is no session)
--          DUE <id> <generation>
local had = call('HMGET', KEYS[2], 'l', 'b', 's')
local reigning, since = reign(), had[3]
if had[1] ~= reigning or now - tonumber(had[2]) > tonumber(ARGV[1]) then since = text(now) end
call('HSET', KEYS[2], 'l', reigning, 'b', text(now), 's', since)
call('PEXPIRE', KEYS[2], 86400000)

local until_ms = text(now + tonumber(ARGV[3]))
call('ZADD', KEYS[3], until_ms, ARGV[2])
for _, gone in ipairs(call('ZRANGEBYSCORE', KEYS[3], '-inf', text(now), 'LIMIT', 0, 100)) do
  call('ZREM', KEYS[3], gone)
end
call('PEXPIRE', KEYS[3], 86400000)

local function viewers(counts)
  local sum, all = 0, call('HGETALL', counts)
  for i = 1, #all, 2 do
    local deadline = call('ZSCORE', KEYS[3], all[i])
    if deadline and tonumber(deadline) > now then sum = sum + tonumber(all[i + 1]) end
  end
  return sum
end

local out = {}
local at, key = 6, 4
for _ = 1, tonumber(ARGV[5]) do
  local id, g, owner, wanted = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  local s = call('HMGET', KEYS[key], 'g', 'o', 'e', 'w')
  key = key + 1
  local counts
  if wanted == '1' then
    counts = KEYS[key]
    key = key + 1
  end
  if not s[1] then
    out[#out + 1] = 'GONE'
  elseif s[1] ~= g or s[2] ~= owner then
    out[#out + 1] = 'FENCED ' .. s[1]
  elseif s[3] then
    out[#out + 1] = 'ENDED'
  else
    call('ZADD', KEYS[1], text(now + tonumber(s[4])), id .. '~' .. g)
    out[#out + 1] = '+ ' .. (counts and text(viewers(counts)) or '0')
  end
end

while at + 2 <= #ARGV do
  local g, count = ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  local s, counts = call('HMGET', KEYS[key], 'g', 'e'), KEYS[key + 1]
  key = key + 2
  if s[1] == g and not s[2] and count ~= '0' then
    call('HSET', counts, ARGV[2], count)
  else
    call('HDEL', counts, ARGV[2])
  end
end

for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'LIMIT', ARGV[4], 100)) do
  local id, g = string.match(name, '^(.*)~(%d+)$')
  if id then
    out[#out + 1] = 'DUE ' .. id .. ' ' .. g
  else
    call('ZREM', KEYS[1], name)
  end
end
local following = call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
table.insert(out, 1, (following[2] or '0') .. ' ' .. text(now))
return out
