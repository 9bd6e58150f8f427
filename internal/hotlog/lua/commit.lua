-- commit writes down how far segments, and with that the space, are archived. It compares what was
-- archived with what is in the log, all or none. Repeating it changes nothing.
--
-- A window with many segments takes several runs, and only the last one moves the place of the space. What the
-- others wrote counts once that place is the end of their window: the window is dropped if a later run finds
-- another history. Field z of a segment is therefore "<last archived> <end of its window> <last before>".
--
-- KEYS[1]     the space
-- KEYS[2n]    meta of segment n
-- KEYS[2n+1]  its log; the key ends with the incarnation that was archived
-- ARGV[1]     owner, "<token> <holder>"
-- ARGV[2]     the timeline id at which the window ends
-- ARGV[3]     '1' if no more segments follow
-- ARGV[3n+1]  last sequence archived of segment n
-- ARGV[3n+2]  its proof, 8 bytes
-- ARGV[3n+3]  the first sequence that the window has of it
--
-- Returns  + · FENCED <token>
--          FORK <key of a meta>: the log holds something else there, or ends before it
local call, match = redis.call, string.match
local position, owner = match(call('HGET', KEYS[1], 'a') or '', '^(%S+) (.*)$')
if owner ~= ARGV[1] then return 'FENCED ' .. (owner and match(owner, '^%d+') or '0') end
local moved = {}
for n = 1, (#KEYS - 1) / 2 do
  local meta, log, last, proof = KEYS[2 * n], KEYS[2 * n + 1], ARGV[3 * n + 1], ARGV[3 * n + 2]
  local facts = call('HMGET', meta, 'h', 'f', 'z')
  local head, archived = facts[1], archivedTo(facts[3], position)
  -- One that was deleted meanwhile, or has another incarnation, is left alone.
  if head and incarnationOf(head) == incarnationIn(log) and stateOf(head) ~= 'x' and tonumber(last) > tonumber(archived) then
    local tail = lastOf(head)
    local kept = facts[2] and match(facts[2], '^%d+') or '1'
    if tonumber(last) > tonumber(tail) then return 'FORK ' .. meta end
    if tonumber(last) >= tonumber(kept) then
      local have = proofOf(head)
      if last ~= tail then
        local found = call('XRANGE', log, last, last, 'COUNT', 1)
        have = found[1] and string.sub(found[1][2][2], FRAME_PROOF_AT, FRAME_PROOF_END)
      end
      if have ~= proof then return 'FORK ' .. meta end
    end
    -- Entries before the first one of this window that no window has stay in Redis, and so do those after them.
    if tonumber(ARGV[3 * n + 3]) <= math.max(tonumber(kept), tonumber(archived) + 1) then
      moved[#moved + 1] = meta
      moved[#moved + 1] = last .. ' ' .. ARGV[2] .. ' ' .. archived
    end
  end
end
for i = 1, #moved, 2 do call('HSET', moved[i], 'z', moved[i + 1]) end
if ARGV[3] == '1' then call('HSET', KEYS[1], 'a', ARGV[2] .. ' ' .. owner) end
return '+'
