-- lone is short.lua for one frame: no loops, and no tables. It gives the same answers.
--
-- KEYS       timeline, meta, log
-- ARGV[1]    the row of the sender
-- ARGV[2]    the frame
-- ARGV[3]    the head as it was seen
-- ARGV[4]    the head to write, without the ts
-- ARGV[5]    the value of the row, without the ts
-- ARGV[6]    the TRX number
-- ARGV[7]    the sequence of the last entry
-- ARGV[8]    how the notice begins, the proof and the sequence of the entry before; empty if nobody is to be told more
--            than that there is something
-- ARGV[9]    the reference in the timeline, empty if it is ARGV[7]
-- ARGV[10]   the lineage of both heads; see vouch.go. Without it, empty arguments at the end may be left out
local KEYS, ARGV = KEYS, ARGV
local call, pcall, sub = redis.call, redis.pcall, string.sub
local timeline, meta, last = KEYS[1], KEYS[2], ARGV[7]
if not (reign() == ARGV[10]) or pcall('HGET', meta, 'h') ~= ARGV[3] then return 'A ' end
local segment, ref, notice = sub(meta, #timeline + 2), ARGV[9], ARGV[8] or ''
if not ref or ref == '' then ref = last end
local id = pcall('XADD', timeline, '*', segment, ref)
if id.err then return 'D ' end
local ts = sub(id, 1, string.find(id, '-', 1, true) - 1)
local entry, head = last .. '-' .. ts, ARGV[4] .. ts
local stored = pcall('XADD', KEYS[3], 'NOMKSTREAM', entry, ARGV[6], ARGV[2])
local refused = not stored or stored.err
-- HSET is refused where the user has lost the right to it.
if not refused and type(pcall('HSET', meta, 'h', head, ARGV[1], ARGV[5] .. ts)) == 'table' then
  refused = call('XDEL', KEYS[3], entry)
end
if refused then
  -- The refused frame must not stay in the timeline.
  call('XDEL', timeline, id)
  return 'D ' .. ts
end
if notice ~= '' then
  notice = notice .. head .. '\n'
  if #ARGV[2] <= NOTICE_BYTES then notice = notice .. ARGV[2] end
end
local letter = pcall('PUBLISH', meta, notice) ~= 0 and 'L ' or 'F '
pcall('PUBLISH', timeline, id .. ' ' .. segment .. ' ' .. ref)
return letter .. ts
