-- known stands before append.lua. It is the long way for what a process meets most: one frame without options, of a
-- producer that has no row yet, for a segment that is open and has no deadline, under the lineage and the generation of
-- its last append. What else there is to check goes on to append.lua; nothing was written then. The keys, the
-- arguments and the answer are those of append.lua, and the checks those of check and write in frames.lua, in a row:
-- functions and plans cost as much as everything else.
local lineage = reign()
local function known()
  local call, pcall, sub, byte, find, fmt = redis.call, redis.pcall, string.sub, string.byte, string.find, string.format
  local timeline, meta, log, frame = KEYS[1], KEYS[5], KEYS[6], ARGV[1]
  local mode, row, epoch, expect, gen = string.match(ARGV[2], '^(.)(%S+) (%d+) 0 (%d+) (%d+)$')
  if not mode then return end
  local facts = pcall('HMGET', meta, 'h', row)
  local head = facts[1]
  if facts.err or not head or facts[2] then return end
  if sub(head, LAYOUT_AT, LAYOUT_END) ~= HEAD_VERSION or sub(head, LINEAGE_AT, TIMED_AT) ~= lineage .. 'o-' then return end
  local last, number, g = string.match(head, '^(%d+) (%d+) (%d+) %d', NUMBERS_AT)
  if g ~= gen then return end
  local inc, adopted = sub(head, INCARNATION_AT, INCARNATION_END), ''
  if sub(log, -16) ~= inc then
    if mode ~= '~' then return end
    log, adopted = sub(log, 1, -17) .. inc, '~' .. inc
    local tail = pcall('XREVRANGE', log, '+', '-', 'COUNT', 1)
    if not tail[1] or find(tail[1][1], last .. '-', 1, true) ~= 1 then return end
  end
  local lo, hi, alo, ahi = byte(frame, 2, 5)
  local count, first = lo + 256 * hi, fmt('%.0f', tonumber(last) + 1)
  if count == 0 or expect ~= '0' and expect ~= first then return end
  local ending = count == 1 and first or fmt('%.0f', tonumber(last) + count)
  local segment, ref = sub(meta, #timeline + 2), count == 1 and first or ending .. ':' .. count
  number = fmt('%.0f', tonumber(number) + alo + 256 * ahi)

  local id = pcall('XADD', timeline, '*', segment, ref)
  if id.err then return 'DISAGREE' end
  local ts = sub(id, 1, find(id, '-', 1, true) - 1)
  -- The sweep looks for rows of idle appenders where these are written down.
  local listed = sub(row, 1, 3) == 'p:~' and pcall('ZADD', KEYS[4], 'NX', fmt('%.0f', tonumber(ts) + APPENDER_IDLE), 'p' .. segment)
  local entry = ending .. '-' .. ts
  local stored = (not listed or type(listed) == 'number') and pcall('XADD', log, 'NOMKSTREAM', entry, number, frame)
  local refused = not stored or stored.err
  local numbers = ending .. ' ' .. number .. ' '
  local new = HEAD_VERSION .. inc .. sub(frame, FRAME_PROOF_AT, FRAME_PROOF_END) .. lineage .. 'o-' .. numbers .. g .. ' ' .. ts
  -- HSET is refused where the user has lost the right to it.
  if not refused and type(pcall('HSET', meta, 'h', new, row, sub(frame, FRAME_ID_AT, FRAME_ID_END) ..
    sub(frame, FRAME_SUM_AT, FRAME_SUM_END) .. '----' .. epoch .. ' 0 ' .. first .. ' ' .. numbers .. ts)) == 'table' then
    refused = call('XDEL', log, entry)
  end
  if refused then
    call('XDEL', timeline, id) -- the refused frame must not stay there
    return 'DISAGREE'
  end
  pcall('PUBLISH', meta, sub(head, PROOF_AT, PROOF_END) .. last .. ' ' .. new .. '\n' .. (#frame <= NOTICE_BYTES and frame or ''))
  pcall('PUBLISH', timeline, id .. ' ' .. segment .. ' ' .. ref)
  return adopted .. '+00 ' .. first .. ' ' .. numbers .. ts .. ' ' .. g .. ' ' .. lineage
end
if #KEYS == 6 and #ARGV == 2 then
  local answer = known()
  if answer then return {answer} end
end
