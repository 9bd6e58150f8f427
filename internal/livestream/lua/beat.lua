-- beat is what an instance says of a space from time to time: which generations it produces and how
-- many readers it has. It hears whose producers are silent.
--
-- KEYS[1]  see session.lua
-- ARGV[1]  longest time between two beats in ms; where nobody was heard for longer, everybody was
--          cut off, and all silence is counted anew
-- ARGV[2]  instance
-- ARGV[3]  how long its counts hold, in ms
-- ARGV[4]  number of generations that follow, four arguments each: id, generation, owner, and 1 to
--          be told its readers
-- …        counts that changed, three arguments each: id, generation, readers
--
-- Returns  the next deadline in ms, or 0, and now; then a line for each generation and for each
--          silent one
--          + <readers> · FENCED <generation> · ENDED · GONE (there is no session)
--          DUE <id> <generation>
local state = prefix .. 'r'
local had = call('HMGET', state, 'l', 'b', 's')
local reigning, since = lineage(), had[3]
if had[1] ~= reigning or now - tonumber(had[2]) > tonumber(ARGV[1]) then since = text(now) end
call('HSET', state, 'l', reigning, 'b', text(now), 's', since)
call('PEXPIRE', state, 86400000)

local out = {}
local at = 5
for _ = 1, tonumber(ARGV[4]) do
  local id, g, owner, wanted = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  local s = call('HMGET', prefix .. 's:' .. id, 'g', 'o', 'e', 'w')
  if not s[1] then
    out[#out + 1] = 'GONE'
  elseif s[1] ~= g or s[2] ~= owner then
    out[#out + 1] = 'FENCED ' .. s[1]
  elseif s[3] then
    out[#out + 1] = 'ENDED'
  else
    call('ZADD', KEYS[1], text(now + tonumber(s[4])), id .. '~' .. g)
    out[#out + 1] = '+ ' .. (wanted == '1' and text(viewers(id .. '~' .. g)) or '0')
  end
end

local until_ms = text(now + tonumber(ARGV[3]))
call('ZADD', prefix .. 'w', until_ms, ARGV[2])
for _, gone in ipairs(call('ZRANGEBYSCORE', prefix .. 'w', '-inf', text(now), 'LIMIT', 0, 100)) do
  call('ZREM', prefix .. 'w', gone)
end
call('PEXPIRE', prefix .. 'w', 86400000)
while at + 2 <= #ARGV do
  local id, g, count = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  local s = call('HMGET', prefix .. 's:' .. id, 'g', 'e')
  if s[1] == g and not s[2] and count ~= '0' then
    call('HSET', prefix .. 'w:' .. id .. '~' .. g, ARGV[2], count)
  else
    call('HDEL', prefix .. 'w:' .. id .. '~' .. g, ARGV[2])
  end
end

for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'LIMIT', 0, 100)) do
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
