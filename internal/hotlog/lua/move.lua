-- move removes whole frames that are archived from the start of a segment. Repeating it changes
-- nothing.
--
-- KEYS[1]  the space
-- KEYS[2]  meta
-- KEYS[3]  log; the key ends with the incarnation
-- ARGV[1]  owner of the archive, "<token> <holder>"
-- ARGV[2]  the first sequence to keep; the frame of the one before ends there
-- ARGV[3]  timestamp of that entry, or 0 if none is kept
-- ARGV[4]  proof of the entry before it, 8 bytes
--
-- Returns  +<first kept>  · ABSENT · OTHER <incarnation> · FENCED <token>
--          AHEAD <sequence>: no more than this is archived
--          AGAIN: an entry to keep came meanwhile
local call, match = redis.call, string.match
local position, owner = match(call('HGET', KEYS[1], 'a') or '', '^(%S+) (.*)$')
if owner ~= ARGV[1] then return 'FENCED ' .. (owner and match(owner, '^%d+') or '0') end
local facts = call('HMGET', KEYS[2], 'h', 'f', 'z')
local head = facts[1]
if not head or stateOf(head) == 'x' then return 'ABSENT' end
local unknown = unknownLayout(head)
if unknown then return unknown end
if incarnationOf(head) ~= incarnationIn(KEYS[3]) then return 'OTHER ' .. incarnationOf(head) end
local first, last = tonumber(ARGV[2]), tonumber(lastOf(head))
local archived = archivedTo(facts[3], position)
if first - 1 > tonumber(archived) then return 'AHEAD ' .. archived end
local kept = facts[2] and match(facts[2], '^%d+')
if not kept or first <= tonumber(kept) then return '+' .. (kept or '1') end
if first <= last and ARGV[3] == '0' then return 'AGAIN' end

call('HSETNX', KEYS[2], 'a', facts[2])
call('XTRIM', KEYS[3], 'MINID', '=', ARGV[2] .. '-0')
call('HSET', KEYS[2], 'f', ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
-- miniredis forgets an empty stream
if first > last and stateOf(head) == 'o' then call('HSET', KEYS[2], 'h', withState(head, 'e')) end
return '+' .. ARGV[2]
