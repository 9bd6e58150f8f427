-- commit writes down how far segments, and with that the space, are archived. It compares what was
-- archived with what is in the log, all or none. Repeating it changes nothing.
--
-- KEYS[1]     timeline
-- KEYS[2]     the space
-- KEYS[2n+1]  meta of segment n
-- KEYS[2n+2]  its log; the key ends with the incarnation that was archived
-- ARGV[1]     owner, "<token> <holder>"
-- ARGV[2]     the timeline id up to which all is archived, or "" if more segments follow
-- ARGV[2n+1]  last sequence archived of segment n
-- ARGV[2n+2]  its proof, 8 bytes
--
-- Returns  + · FENCED <token>
--          FORK <key of a meta>: the log holds something else there, or ends before it
local call, sub, match = redis.call, string.sub, string.match
local position, owner = match(call('HGET', KEYS[2], 'a') or '', '^(%S+) (.*)$')
if owner ~= ARGV[1] then return 'FENCED ' .. (owner and match(owner, '^%d+') or '0') end
local moved = {}
for n = 1, #KEYS / 2 - 1 do
  local meta, log, last, proof = KEYS[2 * n + 1], KEYS[2 * n + 2], ARGV[2 * n + 1], ARGV[2 * n + 2]
  local facts = call('HMGET', meta, 'h', 'f', 'z')
  local head = facts[1]
  -- One that was deleted meanwhile, or has another life, is left alone.
  if head and sub(head, 2, 17) == sub(log, -16) and not string.find('dx', sub(head, 42, 42), 1, true)
    and tonumber(last) > tonumber(facts[3] or '0') then
    local tail = match(head, '^%d+', 44)
    local kept = facts[2] and match(facts[2], '^%d+') or '1'
    if tonumber(last) > tonumber(tail) then return 'FORK ' .. meta end
    if tonumber(last) >= tonumber(kept) then
      local have = sub(head, 18, 25)
      if last ~= tail then
        local found = call('XRANGE', log, last, last, 'COUNT', 1)
        have = found[1] and sub(found[1][2][2], PROOF, PROOF_END)
      end
      if have ~= proof then return 'FORK ' .. meta end
    end
    moved[#moved + 1] = meta
    moved[#moved + 1] = last
  end
end
for i = 1, #moved, 2 do call('HSET', moved[i], 'z', moved[i + 1]) end
if ARGV[2] ~= '' then call('HSET', KEYS[2], 'a', ARGV[2] .. ' ' .. owner) end
return '+'
