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
-- ARGV[last]      the lineage of all these heads; see vouch.go
--
-- Returns "<letters> <ts> …": for each frame L, stored and somebody listens to the segment; F, stored and nobody does;
-- A, nothing was done, as it has another head; or D, DISAGREE. Then for each space the ts, empty if nothing was stored.
-- One string, because a table costs the more the more it holds.
local KEYS, ARGV = KEYS, ARGV
local call, pcall, sub = redis.call, redis.pcall, string.sub
local out, row, flags = {}, ARGV[1], {string.byte(ARGV[2], 1, -1)}
local frames = #KEYS - #flags
local spaces = #flags - frames
local reigns = reign() == ARGV[#ARGV]
local to = 0
for s = 1, spaces do
  local timeline, from, count, changes = KEYS[s], to + 1, 0, {}
  local skip = #timeline + 2
  to = to + flags[s]
  for n = from, to do
    local meta, a = KEYS[spaces + 2 * n - 1], 6 * n
    if reigns and pcall('HGET', meta, 'h') == ARGV[a - 2] then
      changes[count + 1], changes[count + 2] = sub(meta, skip), ARGV[a + 2]
      count = count + 2
    else
      out[n] = 'A'
    end
  end
  local id = count > 0 and pcall('XADD', timeline, '*', unpack(changes))
  local ts, refused = '', false
  if id and not id.err then ts = sub(id, 1, string.find(id, '-', 1, true) - 1) end
  local i = 0
  for n = from, to do
    if not out[n] then
      i = i + 2
      local a, log, heard, last, stored = 6 * n, spaces + 2 * n, flags[spaces + n], changes[i], nil
      local frame = ARGV[a - 3]
      if ts ~= '' then
        if heard >= MANY_RECORDS then last = string.match(last, '^%d+') end
        stored = pcall('XADD', KEYS[log], 'NOMKSTREAM', last .. '-' .. ts, ARGV[a + 1], frame)
      end
      if not stored or stored.err then
        refused = true
        out[n] = 'D'
        changes[i] = false
      else
        local meta, head, notice = KEYS[log - 1], ARGV[a - 1] .. ts, ''
        call('HSET', meta, 'h', head, row, ARGV[a] .. ts)
        if heard % MANY_RECORDS == 1 then
          local seen = ARGV[a - 2]
          notice = sub(seen, PROOF_AT, PROOF_END) .. string.match(seen, '^%d+ ', NUMBERS_AT) .. head .. '\n'
          if #frame <= NOTICE_BYTES then notice = notice .. frame end
        end
        out[n] = call('PUBLISH', meta, notice) > 0 and 'L' or 'F'
      end
    end
  end
  if ts ~= '' then tell(timeline, nil, id, ts, changes, refused, false) end
  out[frames + s] = ' ' .. ts
end
return table.concat(out)
