-- short adds frames to segments whose head is what the sender saw last. Then nothing has happened since, and the checks
-- of append.lua are those that the sender has made itself; see short.go. The frames may be for several spaces; those of
-- one are neighbours, and no two are for one segment.
--
-- KEYS[1 .. g]    timelines of the spaces, in their order; then for each frame the meta and the log of its segment
-- ARGV[1]         the row of the sender
-- ARGV[2]         bytes: for each space the number of its frames, and then for each frame 1 if its notice is to say more
--                 than that there is something, and 2 more if it holds several records
-- ARGV[6n-3 ..]   of frame n: the frame; the head as it was seen; the head to write, without the ts; the value of
--                 the row, without the ts; the TRX number; the reference in the timeline, which begins with "<last>"
-- ARGV[..]        for each space with several frames "<segment> <reference> …" of all of them
-- ARGV[last]      the lineage of all these heads; see vouch.go
--
-- Returns "<letters> <ts> …": for each frame L, stored and somebody listens to the segment; F, stored and nobody does;
-- A, nothing was done, as it has another head; or D, DISAGREE. Then for each space the ts, empty if nothing was stored.
-- One string, because the server makes the answer of a table element by element.
local KEYS, ARGV = KEYS, ARGV
local call, pcall, sub = redis.call, redis.pcall, string.sub
local out, row, flags = {}, ARGV[1], {string.byte(ARGV[2], 1, -1)}
local frames = #KEYS - #flags
local spaces = #flags - frames
local reigns = reign() == ARGV[#ARGV]
local texts = 6 * frames + 2

-- pairsOf returns names and references of the frames from first to last that were not left out, false for the reference
-- of one that was refused.
local function pairsOf(first, last, skip)
  local changes, count = {}, 0
  for n = first, last do
    if out[n] ~= 'A' then
      changes[count + 1], changes[count + 2] = sub(KEYS[spaces + 2 * n - 1], skip), out[n] ~= 'D' and ARGV[6 * n + 2]
      count = count + 2
    end
  end
  return changes
end

local to = 0
for s = 1, spaces do
  local timeline, size, first, left = KEYS[s], flags[s], to + 1, 0
  to = to + size
  for n = first, to do
    if not reigns or pcall('HGET', KEYS[spaces + 2 * n - 1], 'h') ~= ARGV[6 * n - 2] then
      out[n] = 'A'
      left = left + 1
    end
  end
  -- All frames of a call share a place in the timeline, as pairs of name and reference or as one text.
  local text, changes, id
  if size > 1 then
    texts = texts + 1
    if left == 0 then text = ARGV[texts] end
  end
  if text then
    id = pcall('XADD', timeline, '*', '', text)
  elseif left < size then
    changes = pairsOf(first, to, #timeline + 2)
    id = pcall('XADD', timeline, '*', unpack(changes))
  end
  local ts, refused = '', false
  if id and not id.err then ts = sub(id, 1, string.find(id, '-', 1, true) - 1) end
  for n = first, to do
    if not out[n] then
      local a, log, heard, last, stored = 6 * n, spaces + 2 * n, flags[spaces + n], nil, nil
      local frame = ARGV[a - 3]
      if ts ~= '' then
        last = ARGV[a + 2]
        if heard >= MANY_RECORDS then last = string.match(last, '^%d+') end
        stored = pcall('XADD', KEYS[log], 'NOMKSTREAM', last .. '-' .. ts, ARGV[a + 1], frame)
      end
      local meta, head, notice = KEYS[log - 1], ARGV[a - 1] .. ts, ''
      local kept = stored and not stored.err
      -- HSET is refused where the user has lost the right to it.
      if kept and type(pcall('HSET', meta, 'h', head, row, ARGV[a] .. ts)) == 'table' then
        kept = false
        call('XDEL', KEYS[log], last .. '-' .. ts)
      end
      if not kept then
        refused = true
        out[n] = 'D'
      else
        if heard % MANY_RECORDS == 1 then
          local seen = ARGV[a - 2]
          notice = sub(seen, PROOF_AT, PROOF_END) .. string.match(seen, '^%d+ ', NUMBERS_AT) .. head .. '\n'
          if #frame <= NOTICE_BYTES then notice = notice .. frame end
        end
        out[n] = pcall('PUBLISH', meta, notice) ~= 0 and 'L' or 'F'
      end
    end
  end
  if ts ~= '' then
    if refused then
      tell(timeline, nil, id, ts, pairsOf(first, to, #timeline + 2), true, false)
    else
      pcall('PUBLISH', timeline, id .. ' ' .. (text or table.concat(changes, ' ')))
    end
  end
  out[frames + s] = ' ' .. ts
end
return table.concat(out)
