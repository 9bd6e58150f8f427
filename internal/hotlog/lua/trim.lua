-- trim removes whole frames from the start of a segment. Repeating it changes nothing.
--
-- KEYS[1]  timeline
-- KEYS[2]  the space
-- KEYS[3]  meta
-- KEYS[4]  log; the key ends with the incarnation
-- KEYS[5]  set of its forks
-- ARGV[1]  the first sequence to keep; the frame of the one before ends there
-- ARGV[2]  timestamp of that entry, or 0 if none is kept
-- ARGV[3]  proof of the entry before it, 8 bytes
--
-- What lies before the log, in the archive, goes first; if the first entry to keep is there, only that.
--
-- Returns  +<first kept>  · ABSENT · OTHER <incarnation>
--          CAP <sequence>: a fork reads the entries up to there
--          AGAIN: an entry to keep came meanwhile
--          BEYOND <last>: the segment is not that long
local call, sub, match = redis.call, string.sub, string.match
local prefix = sub(KEYS[1], 1, -2)
local segment = sub(KEYS[3], #prefix + 3)
local facts = redis.call('HMGET', KEYS[3], 'h', 'f', 'a')
local head = facts[1]
if not head then return 'ABSENT' end
local unknown = unknownLayout(head)
if unknown then return unknown end
if incarnationOf(head) ~= incarnationIn(KEYS[4]) then return 'OTHER ' .. incarnationOf(head) end
local first = tonumber(ARGV[1])
local last = tonumber(lastOf(head))
if first > last + 1 then return 'BEYOND ' .. lastOf(head) end
local hot = facts[2] and match(facts[2], '^%d+')
local kept = facts[3] and match(facts[3], '^%d+') or hot
if not kept or first <= tonumber(kept) then return '+' .. (kept or '1') end
for _, fork in ipairs(call('SMEMBERS', KEYS[5])) do
  local cap = match(fork, '%d+$')
  if tonumber(cap) >= tonumber(kept) then return 'CAP ' .. cap end
end
local inside = first > tonumber(hot)
if inside and first <= last and ARGV[2] == '0' then return 'AGAIN' end

local reigns = newReigns(KEYS[1], KEYS[2], reign())
local id = call('XADD', KEYS[1], '*', segment, 't' .. ARGV[1])
if reigns then call('HSET', KEYS[2], 'g', reigns) end
if first >= tonumber(hot) then
  if facts[3] then call('HDEL', KEYS[3], 'a') end
else
  call('HSET', KEYS[3], 'a', ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
end
if inside then
  call('XTRIM', KEYS[4], 'MINID', '=', ARGV[1] .. '-0')
  call('HSET', KEYS[3], 'f', ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
end
-- miniredis forgets an empty stream
if inside and first > last and stateOf(head) == 'o' then call('HSET', KEYS[3], 'h', withState(head, 'e')) end
redis.pcall('PUBLISH', KEYS[3], proofOf(head) .. lastOf(head) .. ' ' .. head .. '\n')
redis.pcall('PUBLISH', KEYS[1], id .. ' ' .. segment .. ' t' .. ARGV[1])
return '+' .. ARGV[1]
