-- short adds frames to segments whose head is what the sender saw last. Then nothing has happened since, and the checks
-- of append.lua are those that the sender has made itself; see short.go. The frames may be for several spaces; those of
-- one are neighbours, and no two are for one segment.
--
-- KEYS[1 .. g]    timelines of the spaces, in their order; then for each frame the meta and the log of its segment
-- ARGV[1]         the lineage of all these heads; see vouch.go
-- ARGV[2]         the row of the sender
-- ARGV[3]         for each frame 'L' if its notice is to say more than that there is something, else any other byte
-- ARGV[4]         for each space the number of its frames, as a byte
-- ARGV[6n-1 ..]   of frame n: the frame; the head as it was seen; the head to write, without the ts; the value of
--                 the row, without the ts; the TRX number; the reference in the timeline, which begins with "<last>"
--
-- Returns for each frame L, stored and somebody listens to the segment; F, stored and nobody does; A, nothing
-- was done, as it has another head; or DISAGREE; and after them for each space the ts, empty if nothing was stored.
local KEYS, ARGV = KEYS, ARGV
local call, pcall, sub, byte, find, match = redis.call, redis.pcall, string.sub, string.byte, string.find, string.match
local out = {}
local row, listened, sizes = ARGV[2], ARGV[3], ARGV[4]
local spaces = #sizes
local frames = (#KEYS - spaces) / 2
local reigns = reign() == ARGV[1]
for n = 1, frames do
  if not reigns or pcall('HGET', KEYS[spaces + 2 * n - 1], 'h') ~= ARGV[6 * n] then out[n] = 'A' end
end
local to = 0
for s = 1, spaces do
  local timeline, from = KEYS[s], to + 1
  local prefix = sub(timeline, 1, -2)
  local skip, channel, changes = #prefix + 3, prefix .. 'n:', {}
  to = to + byte(sizes, s)
  for n = from, to do
    if not out[n] then
      changes[#changes + 1] = sub(KEYS[spaces + 2 * n - 1], skip)
      changes[#changes + 1] = ARGV[6 * n + 4]
    end
  end
  local id = #changes > 0 and pcall('XADD', timeline, '*', unpack(changes))
  local ts, refused = '', false
  if type(id) == 'string' then ts = sub(id, 1, find(id, '-', 1, true) - 1) end
  local i = 1
  for n = from, to do
    if not out[n] then
      local a, frame, stored = 6 * n, ARGV[6 * n - 1], nil
      if ts ~= '' then
        local last = changes[i + 1]
        if find(last, ':', 1, true) then last = match(last, '^%d+') end
        stored = pcall('XADD', KEYS[spaces + 2 * n], 'NOMKSTREAM', last .. '-' .. ts, ARGV[a + 3], frame)
      end
      if type(stored) ~= 'string' then
        refused = true
        out[n] = 'DISAGREE'
        changes[i + 1] = false
      else
        local meta, head, notice = KEYS[spaces + 2 * n - 1], ARGV[a + 1] .. ts, ''
        call('HSET', meta, 'h', head, row, ARGV[a + 2] .. ts)
        if byte(listened, n) == 76 then
          local seen = ARGV[a]
          notice = sub(seen, PROOF_AT, PROOF_END) .. match(seen, '^%d+ ', NUMBERS_AT) .. head .. '\n' .. (#frame <= carried and frame or '')
        end
        out[n] = call('PUBLISH', channel .. changes[i], notice) > 0 and 'L' or 'F'
      end
      i = i + 2
    end
  end
  if ts ~= '' then tell(timeline, nil, prefix .. 'n', id, ts, changes, refused, false) end
  out[frames + s] = ts
end
return out
