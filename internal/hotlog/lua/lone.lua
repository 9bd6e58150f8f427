-- lone is short.lua for one frame: no loops, and no tables but the answer. It takes the same arguments and gives the
-- same answers.
local KEYS, ARGV = KEYS, ARGV
local call, pcall, sub = redis.call, redis.pcall, string.sub
local timeline, meta, seen = KEYS[1], KEYS[2], ARGV[4]
if not (reign() == ARGV[9]) or pcall('HGET', meta, 'h') ~= seen then return {'A', ''} end
local segment, ref, heard = sub(meta, #timeline + 2), ARGV[7], string.byte(ARGV[2], 2)
local id = pcall('XADD', timeline, '*', segment, ref)
if type(id) == 'table' then return {'DISAGREE', ''} end
local ts = sub(id, 1, string.find(id, '-', 1, true) - 1)
local stored = pcall('XADD', KEYS[3], 'NOMKSTREAM', (heard >= MANY_RECORDS and string.match(ref, '^%d+') or ref) .. '-' .. ts, ARGV[8], ARGV[3])
if type(stored) ~= 'string' then
  -- The refused frame must not stay in the timeline.
  call('XDEL', timeline, id)
  return {'DISAGREE', ts}
end
local head = ARGV[5] .. ts
call('HSET', meta, 'h', head, ARGV[1], ARGV[6] .. ts)
local notice = ''
if heard % MANY_RECORDS == 1 then
  notice = sub(seen, PROOF_AT, PROOF_END) .. string.match(seen, '^%d+ ', NUMBERS_AT) .. head .. '\n'
  if #ARGV[3] <= NOTICE_BYTES then notice = notice .. ARGV[3] end
end
local listeners = call('PUBLISH', meta, notice)
call('PUBLISH', timeline, id .. ' ' .. segment .. ' ' .. ref)
return {listeners > 0 and 'L' or 'F', ts}
