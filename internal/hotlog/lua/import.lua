-- import adds frames that another system stored, with the times that they have there, to segments of one space:
-- all or none. Repeating it changes nothing.
--
-- KEYS[1]     timeline
-- KEYS[2]     the space
-- KEYS[3]     inventory
-- KEYS[2n+2]  meta of the segment of frame n; several frames may be for one segment
-- KEYS[2n+3]  its log; the key ends with the incarnation
-- ARGV[1]     the last timeline id that the caller knows, 0-0 for an empty timeline
-- ARGV[6n-4]  timeline id of frame n, "<time of the frame in ms>-<n>"; each is after the one before it
-- ARGV[6n-3]  its first sequence
-- ARGV[6n-2]  and its last one
-- ARGV[6n-1]  TRX number
-- ARGV[6n]    reference in the timeline
-- ARGV[6n+1]  the frame, see frame.go
--
-- Returns  +                       stored, now or before
--          CHANGED <timeline id>   the timeline ends elsewhere: another program writes to the space
--          SEQUENCE <n> <expected> the segment of frame n goes on elsewhere
--          STATE <n> <state>       it takes no entries
--          OTHER <n>               it has another incarnation
--          LAYOUT <version>        unknown layout
--          DISAGREE                a key is not what it should be, or they contradict each other
local call, pcall, sub, match, fmt = redis.call, redis.pcall, string.sub, string.match, string.format
local lineage = reign()
local skip = #KEYS[1] + 2
local frames = (#KEYS - 3) / 2

local tail = pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if tail.err then return 'DISAGREE' end
local last = tail[1] and tail[1][1] or '0-0'
if last == ARGV[6 * frames - 4] then
  -- The timeline ends with what this call brings: it ran before, unless another program took the same place.
  local have = pcall('HGET', KEYS[2 * frames + 2], 'h')
  local frame = ARGV[6 * frames + 1]
  if type(have) == 'string' and proofOf(have) == sub(frame, FRAME_PROOF_AT, FRAME_PROOF_END)
    and lastOf(have) == ARGV[6 * frames - 2] then
    return '+'
  end
end
if last ~= ARGV[1] then return 'CHANGED ' .. last end

local segments = {}
for n = 1, frames do
  local meta, log = KEYS[2 * n + 2], KEYS[2 * n + 3]
  local s = segments[meta]
  if not s then
    s = {inc = incarnationIn(log), last = 0, gen = '0', state = 'e', timed = '-'}
    local head = pcall('HGET', meta, 'h')
    if type(head) == 'table' then return 'DISAGREE' end
    local entries = pcall('XREVRANGE', log, '+', '-', 'COUNT', 1)
    if entries.err then return 'DISAGREE' end
    if head then
      local unknown = unknownLayout(head)
      if unknown then return unknown end
      s.state, s.timed, s.lineage = stateOf(head), sub(head, TIMED_AT, TIMED_AT), sub(head, LINEAGE_AT, LINEAGE_END)
      if s.state ~= 'e' and s.state ~= 'o' then return 'STATE ' .. n .. ' ' .. s.state end
      if incarnationOf(head) ~= s.inc then return 'OTHER ' .. n end
      local l, g = match(head, '^(%d+) %d+ (%d+) %d', NUMBERS_AT)
      if not l then return 'DISAGREE' end
      s.last, s.gen = tonumber(l), g
    else
      s.new = true
    end
    if entries[1] and tonumber(match(entries[1][1], '^%d+')) ~= s.last then return 'DISAGREE' end
    segments[meta] = s
  end
  if tonumber(ARGV[6 * n - 3]) ~= s.last + 1 then return 'SEQUENCE ' .. n .. ' ' .. fmt('%.0f', s.last + 1) end
  s.last = tonumber(ARGV[6 * n - 2])
end

local reigns = newReigns(KEYS[1], KEYS[2], lineage)
local notice = {ARGV[6 * frames - 4]}
for n = 1, frames do
  local meta, log = KEYS[2 * n + 2], KEYS[2 * n + 3]
  local id, first, to, number, reference, frame = unpack(ARGV, 6 * n - 4, 6 * n + 1)
  local s, segment, ts = segments[meta], sub(meta, skip), match(id, '^%d+')
  if n == 1 then
    -- What can fail because a key has another type comes before anything that cannot be taken back.
    if type(pcall('ZADD', KEYS[3], 'NX', 0, (string.gsub(segment, '%%(%x%x)', function(x)
      return string.char(tonumber(x, 16))
    end)))) == 'table' then
      return 'DISAGREE'
    end
  end
  call('XADD', KEYS[1], id, segment, reference)
  call('XADD', log, to .. '-' .. ts, number, frame)
  local fields = {}
  if s.new then
    call('ZADD', KEYS[3], 0, (string.gsub(segment, '%%(%x%x)', function(x) return string.char(tonumber(x, 16)) end)))
    fields = {'b', id}
    if pcall('HSETNX', KEYS[2], 's', id) == 1 then pcall('HSET', KEYS[2], 'b', segment .. ' ' .. reference) end
  end
  if s.state == 'e' then
    fields[#fields + 1] = 'f'
    fields[#fields + 1] = first .. ' ' .. ts .. ' ' .. '\0\0\0\0\0\0\0\0'
  end
  if s.lineage ~= lineage then
    local list = s.new and '' or call('HGET', meta, 'l') or ''
    fields[#fields + 1] = 'l'
    fields[#fields + 1] = sub(lineage .. ':' .. first .. ' ' .. list, 1, 2048)
  end
  local head = HEAD_VERSION .. s.inc .. sub(frame, FRAME_PROOF_AT, FRAME_PROOF_END) .. lineage .. 'o' .. s.timed
    .. to .. ' ' .. number .. ' ' .. s.gen .. ' ' .. ts
  call('HSET', meta, 'h', head, unpack(fields))
  s.new, s.state, s.lineage = false, 'o', lineage
  notice[#notice + 1] = segment
  notice[#notice + 1] = reference
end
if reigns then pcall('HSET', KEYS[2], 'g', reigns) end
-- Followers read what is there when they are told that there is something.
for meta in pairs(segments) do pcall('PUBLISH', meta, '') end
pcall('PUBLISH', KEYS[1], table.concat(notice, ' '))
return '+'
