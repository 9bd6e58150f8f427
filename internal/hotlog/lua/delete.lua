-- delete ends a segment: its entries go and a tombstone stays for a day. While forks read them,
-- the entries stay and only the segment is closed to everybody else.
--
-- KEYS[1]  timeline
-- KEYS[2]  the space
-- KEYS[3]  inventory
-- KEYS[4]  deadlines
-- KEYS[5]  meta
-- KEYS[6]  log; the key ends with the incarnation
-- KEYS[7]  set of the forks of the segment
-- KEYS[8]  set of the forks of its parent, if it is a fork
-- ARGV[1]  verdict as JSON
-- ARGV[2]  delete; expire (only if the deadline has passed); release (only if it was deleted and
--          its last fork has gone)
-- ARGV[3]  its member in KEYS[8]
--
-- Returns  +              deleted
--          SOFT           deleted, its forks keep the entries
--          GONE <verdict> it was deleted before
--          ABSENT · OTHER <incarnation> · EARLY (nothing to expire, nothing to release)
local call, sub = redis.call, string.sub
local prefix = sub(KEYS[1], 1, -2)
local segment = sub(KEYS[5], #prefix + 3)
local facts = redis.call('HMGET', KEYS[5], 'h', 'd', 's', 'y')
local head = facts[1]
if not head then return 'ABSENT' end
local unknown = unknownLayout(head)
if unknown then return unknown end
if incarnationOf(head) ~= incarnationIn(KEYS[6]) then return 'OTHER ' .. incarnationOf(head) end
local state = stateOf(head)
if state == 'x' or (state == 'd' and ARGV[2] ~= 'release') then return 'GONE ' .. (facts[3] or '') end
if ARGV[2] == 'expire' then
  if not isTimed(head) then return 'EARLY' end
  local t = call('TIME')
  if tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000) < tonumber(facts[2]) then return 'EARLY' end
end
local forks = call('SCARD', KEYS[7])
if ARGV[2] == 'release' and (state ~= 'd' or forks > 0) then return 'EARLY' end

local last = lastOf(head)
-- A release is a change too: the archiver learns from it that nobody reads the segment any more.
local reigns = newReigns(KEYS[1], KEYS[2], reign())
local id = call('XADD', KEYS[1], '*', segment, 'd' .. last)
if reigns then call('HSET', KEYS[2], 'g', reigns) end
if forks > 0 then
  call('HSET', KEYS[5], 'h', withState(head, 'd', '-'), 's', ARGV[1])
else
  local verdict = state == 'd' and facts[3] or ARGV[1]
  call('UNLINK', KEYS[6])
  call('DEL', KEYS[5])
  call('HSET', KEYS[5], 'h', withState(head, 'x', '-'), 's', verdict)
  if facts[4] then call('HSET', KEYS[5], 'y', facts[4]) end
  call('PEXPIRE', KEYS[5], 86400000)
  if KEYS[8] then
    -- The caller lets the parent go; if it dies before that, the sweeper does.
    if call('SCARD', KEYS[8]) - call('SREM', KEYS[8], ARGV[3]) <= 0 then call('ZADD', KEYS[4], 0, 'r' .. sub(KEYS[8], #prefix + 3, -18)) end
  end
end
local name = string.gsub(segment, '%%(%x%x)', function(x) return string.char(tonumber(x, 16)) end)
call('ZREM', KEYS[3], name)
call('ZREM', KEYS[4], 't' .. segment, 'p' .. segment, 'r' .. segment)
if state ~= 'd' then
  redis.pcall('PUBLISH', KEYS[5], proofOf(head) .. last .. ' ' .. withState(head, 'x', '-') .. '\n')
  redis.pcall('PUBLISH', KEYS[1], id .. ' ' .. segment .. ' d' .. last)
end
return forks > 0 and 'SOFT' or '+'
