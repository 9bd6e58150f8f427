-- append adds frames to segments of one space, each all or none and each answered by itself. A
-- frame may carry no record, to create or to close a segment.
--
-- All frames of a call go one of two ways. The long way makes every check:
-- KEYS[1]       timeline
-- KEYS[2]       the space
-- KEYS[3]       inventory
-- KEYS[4]       deadlines
-- KEYS[2n+3]    meta of the segment of frame n; no two frames are for one segment
-- KEYS[2n+4]    its log; the key ends with the incarnation
-- ARGV[1]       empty
-- ARGV[2n]      frame n, see frame.go
-- ARGV[2n+1]    "<mode><row> <epoch> <seq> <expect> <generation>" and then nothing or the options as JSON.
--               mode '=': the segment must have this incarnation; '+': it may be created with it
--   options     a "<inc> <lineage> <seq>" of the last entry that the caller was told of
--               m must exist · k check only · d digest of the records · v verdict, closes
--               c, n content type as given and normalised · q stream seq in hex
--               w sliding ttl in ms · x deadline in ms · o origin · z create only
--               p fork of: segment, inc, cap, number, proof; there is then one frame, and
--                 KEYS[7] is the meta of the parent, KEYS[8] the set of its forks
--
-- The short way is for frames whose sender has made the checks on the head that it saw last; see short.go. They may
-- be for several spaces; those of one are neighbours.
-- KEYS[1 .. g]    timelines of the spaces, in their order; then for each frame the meta and the log of its segment
-- ARGV[1]         the lineage of all these heads
-- ARGV[2]         the row of the sender
-- ARGV[3]         for each frame 'L' if its notice is to say more than that there is something, else any other byte
-- ARGV[4]         for each space the number of its frames, as a byte
-- ARGV[6n-1 ..]   of frame n: the frame; the head as it was seen; the head to write, without the ts; the value of
--                 the row, without the ts; the TRX number; the reference in the timeline, which begins with "<last>"
-- Returns for each frame L, stored and somebody listens to the segment; F, stored and nobody does; A, nothing
-- was done, as it has another head; or DISAGREE; and behind them for each space the ts, empty if nothing was stored.
--
-- The long way returns for each frame one of
--   +<created><closed> <first> <last> <number> <ts> <generation> <lineage><proof>   stored; the proof of the
--                                                   last entry, 8 raw bytes, follows if there was no record
--   R<closed> <first> <last> <number> <ts> <generation> <lineage><proof><id>   stored before; the proof is that
--                                                   of the last entry now, the id has 16 raw bytes
--   K<created> <first> <last>                       check only: it would be stored
--   DOUBT                                           whether the entry of option a is still what it was
--   OTHER <incarnation>                             mode '+' found this one
--   LOST                                            mode '=' found another one, or nothing
--   GONE <verdict>                                  mode '=' found its tombstone
--   HELD <verdict>                                  it was deleted and only its forks read it
--   ABSENT                                          it must exist and does not
--   PARENT                                          the parent of the fork is not what the caller saw
--   EXISTS                                          create only, and it is there
--   EXPIRED <incarnation>                           its deadline has passed; nobody has swept it yet
--   CLOSED <last> <verdict>
--   CONTENT <type> · STREAMSEQ <hex>                content rules
--   FENCED <generation>
--   EPOCH <epoch> <seq> · GAP <epoch> <expected seq> · OLD <epoch> <seq>
--   MISMATCH <epoch> <seq> <first> <last> <number> <ts> <generation> <lineage> <digest>
--   SEQUENCE <expected>
--   LAYOUT <version>                                unknown layout
--   DISAGREE                                        a key is not what it should be, or they contradict each other
--
-- The head of a segment is its field h: layout 1, incarnation 16, proof 8, lineage 16, state 1,
-- timed 1, and then "<last> <number> <generation> <ts>". States: e open, its log may be missing;
-- o open; c closed; d deleted but read by forks; x tombstone.
local KEYS, ARGV = KEYS, ARGV
local call, pcall, sub, byte, find, match = redis.call, redis.pcall, string.sub, string.byte, string.find, string.match
local out, info = {}, reign()

-- tell ends what was written to a space. reigns is the list of its lineages, if it has become another one. The key
-- of the space is needed only for that, and if a segment was created.
local function tell(timeline, space, prefix, id, ts, changes, refused, created, reigns)
  -- A refused frame must not stay in the timeline. Its place goes to the others, at the same time.
  if refused then
    call('XDEL', timeline, id)
    local left = {}
    for i = 1, #changes, 2 do
      if changes[i + 1] then
        left[#left + 1] = changes[i]
        left[#left + 1] = changes[i + 1]
      end
    end
    changes = left
    if #changes == 0 then return end
    id = call('XADD', timeline, ts .. '-' .. string.format('%.0f', tonumber(sub(id, #ts + 2)) + 1), unpack(changes))
  end
  -- Where the timeline begins, and with what: a reader that finds it to begin later, or with something else at the
  -- same time, knows that its start was lost.
  if created and pcall('HSETNX', space, 's', id) == 1 then
    pcall('HSET', space, 'b', changes[1] .. ' ' .. changes[2])
  end
  if reigns then pcall('HSET', space, 'g', reigns) end
  call('PUBLISH', prefix .. 'n', id .. ' ' .. table.concat(changes, ' '))
end

if ARGV[1] ~= '' then
  local row, listened, sizes = ARGV[2], ARGV[3], ARGV[4]
  local spaces = #sizes
  local frames = (#KEYS - spaces) / 2
  -- Not the whole answer: a promoted server also names the lineage that it came from.
  local reigns = find(info, 'master_replid:' .. ARGV[1], 1, true)
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
            notice = sub(seen, 18, 25) .. match(seen, '^%d+ ', 44) .. head .. '\n' .. (#frame <= NOTICE and frame or '')
          end
          out[n] = call('PUBLISH', channel .. changes[i], notice) > 0 and 'L' or 'F'
        end
        i = i + 2
      end
    end
    if ts ~= '' then tell(timeline, nil, prefix, id, ts, changes, refused, false) end
    out[frames + s] = ts
  end
else
  local prefix = sub(KEYS[1], 1, -2)
  local skip, channel = #prefix + 3, prefix .. 'n:'
  local changes, refused, created = {}, false, false
  local id, ts
  local fmt = string.format
  local _, at = find(info, 'master_replid:', 1, true)
  local lineage = sub(info, at + 1, at + 16)
  local DAY = 86400000
  local now_ms

  local function now()
    if not now_ms then
      local t = call('TIME')
      now_ms = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
    end
    return now_ms
  end

  -- Byte by byte: < on strings follows the locale of the server.
  local function greater(a, b)
    for i = 1, math.min(#a, #b) do
      local x, y = byte(a, i), byte(b, i)
      if x ~= y then return x > y end
    end
    return #a > #b
  end

  -- doubted reports whether what a caller was told of may have been lost. Lives that ended on purpose were not.
  local function doubted(meta, inc, last, told)
    local life, reign, seq = match(told, '^(%x+) (%x+) (%d+)$')
    if life ~= inc then return not find(call('HGET', meta, 'y') or '', life, 1, true) end
    if last < tonumber(seq) then return true end
    if seq == '0' then return false end
    if reign == lineage then return false end
    for l, first in string.gmatch(call('HGET', meta, 'l') or '', '(%x+):(%d+)') do
      if tonumber(first) <= tonumber(seq) then return l ~= reign end
    end
    return true
  end

  -- check returns an answer, or what write needs to store frame n.
  local function check(n)
    local frame, meta = ARGV[2 * n], KEYS[2 * n + 3]
    local inc = sub(KEYS[2 * n + 4], -16)
    local mode, row, epoch, seq, expect, gen, rest = match(ARGV[2 * n + 1], '^(.)(%S+) (%d+) (%d+) (%d+) (%d+)(.*)$')
    local opt = rest ~= '' and cjson.decode(rest)
    local facts = pcall('HMGET', meta, 'h', row)
    if facts.err then return 'DISAGREE' end
    local head, mine = facts[1], facts[2]
    local state = head and sub(head, 42, 42)
    local ended
    if head then
      if sub(head, 1, 1) ~= '1' then return 'LAYOUT ' .. sub(head, 1, 1) end
      if sub(head, 2, 17) ~= inc then
        if mode == '=' then return 'LOST' end
        if state ~= 'x' then return 'OTHER ' .. sub(head, 2, 17) end
        ended = sub(head, 2, 17)
        if opt and opt.a and sub(opt.a, 1, 16) == ended then return 'GONE ' .. (call('HGET', meta, 's') or '') end
        ended = sub(ended .. ' ' .. (call('HGET', meta, 'y') or ''), 1, 271)
        head, mine = nil, nil -- write clears the tombstone
      elseif state == 'x' or state == 'd' then
        return (state == 'x' and 'GONE ' or 'HELD ') .. (call('HGET', meta, 's') or '')
      end
    end
    local digest = opt and opt.d or sub(frame, 6, 9) .. '----'
    local last, number, current, proof, lineage, timed = 0, 0, 0, '\0\0\0\0\0\0\0\0', '', '-'
    local deadline, ttl
    if head then
      local l, c, g = match(head, '^(%d+) (%d+) (%d+) %d', 44)
      if not l then return 'DISAGREE' end
      last, number, current = tonumber(l), tonumber(c), tonumber(g)
      proof, lineage, timed = sub(head, 18, 25), sub(head, 26, 41), sub(head, 43, 43)
      if mine then
        local re, rs, stored = match(mine, '^(%d+) (%d+) (.*)$', 25)
        if re == epoch and rs == seq then
          -- As it is: a server that is asked for replicas or disk waits for what this connection wrote.
          call('HSET', meta, row, mine)
          if sub(mine, 17, 24) == digest then
            return 'R' .. (state == 'c' and '1 ' or '0 ') .. stored .. ' ' .. g .. ' ' .. lineage .. proof .. sub(mine, 1, 16)
          end
          return 'MISMATCH ' .. re .. ' ' .. rs .. ' ' .. stored .. ' ' .. g .. ' ' .. lineage .. ' ' .. sub(mine, 17, 24)
        end
      end
      if opt and opt.a and doubted(meta, inc, last, opt.a) then return 'DOUBT' end
      if timed == 't' then
        local d = call('HMGET', meta, 'd', 'w')
        deadline, ttl = d[1], d[2]
        if not deadline then return 'DISAGREE' end
        if now() >= tonumber(deadline) then return 'EXPIRED ' .. inc end
      end
      if opt and opt.z then return 'EXISTS' end
      if state == 'c' then return 'CLOSED ' .. l .. ' ' .. (call('HGET', meta, 's') or '') end
    else
      if mode == '=' then return 'LOST' end
      if opt and opt.a and not find(ended or '', sub(opt.a, 1, 16), 1, true) then return 'DOUBT' end
      if opt and opt.m then return 'ABSENT' end
      state = 'e'
      if opt and opt.p then
        local parent = call('HGET', KEYS[7], 'h')
        if not parent or sub(parent, 2, 17) ~= opt.p.inc or find('dx', sub(parent, 42, 42), 1, true)
          or tonumber(match(parent, '^%d+', 44)) < tonumber(opt.p.cap) then
          return 'PARENT'
        end
        last, number = tonumber(opt.p.cap), tonumber(opt.p.number)
        proof = string.gsub(opt.p.proof, '..', function(x) return string.char(tonumber(x, 16)) end)
      end
    end
    if opt and head then
      if opt.n then
        local have = call('HMGET', meta, 'n', 'c')
        if have[1] ~= opt.n then return 'CONTENT ' .. (have[2] or '') end
      end
    end
    if tonumber(gen) > current then
      current = tonumber(gen)
    elseif tonumber(gen) < current then
      return 'FENCED ' .. fmt('%.0f', current)
    end
    local want, had = 0, epoch
    if mine then
      local rs
      had, rs = match(mine, '^(%d+) (%d+)', 25)
      local is = tonumber(epoch)
      if is < tonumber(had) then return 'EPOCH ' .. had .. ' ' .. rs end
      if is == tonumber(had) then
        want = tonumber(rs) + 1
        if tonumber(seq) < want then return 'OLD ' .. had .. ' ' .. rs end
      end
    end
    if tonumber(seq) ~= want then return 'GAP ' .. had .. ' ' .. fmt('%.0f', want) end
    -- Behind the producer: a repeat carries an old one.
    if opt and opt.q and head then
      local have = call('HGET', meta, 'q')
      if have and not greater(opt.q, have) then return 'STREAMSEQ ' .. have end
    end
    if expect ~= '0' and tonumber(expect) ~= last + 1 then return 'SEQUENCE ' .. fmt('%.0f', last + 1) end
    local lo, hi, alo, ahi = byte(frame, 2, 5)
    local count = lo + 256 * hi
    if count == 0 and opt and opt.z then alo = 0 end -- to create is no append
    if opt and opt.k then
      return 'K' .. (head and '0 ' or '1 ') .. fmt('%.0f %.0f', last + 1, last + count)
    end
    return nil, {
      n = n, meta = meta, log = KEYS[2 * n + 4], inc = inc, frame = frame, segment = sub(meta, skip),
      new = not head, state = state, timed = timed, deadline = deadline, ttl = ttl, opt = opt,
      prev = last, count = count, last = fmt('%.0f', last + count), number = fmt('%.0f', number + alo + 256 * ahi),
      gen = fmt('%.0f', current), proof = proof, lineage = lineage, ended = ended,
      row = row, fresh = not mine, mine = digest .. epoch .. ' ' .. seq .. ' ' .. fmt('%.0f', last + 1) .. ' ',
    }
  end

  local plans, foreign = {}, false
  for n = 1, (#ARGV - 1) / 2 do
    local answer, plan = check(n)
    if answer then
      out[n] = answer
    else
      foreign = foreign or plan.lineage ~= lineage
      plan.ref = plan.last
      if plan.opt and plan.opt.v then
        plan.ref = 'c' .. plan.last .. ':' .. plan.count
      elseif plan.count == 0 then
        plan.ref = 'n' .. plan.last
      elseif plan.count > 1 then
        plan.ref = plan.last .. ':' .. plan.count
      end
      plans[#plans + 1] = plan
      changes[#changes + 1] = plan.segment
      changes[#changes + 1] = plan.ref
    end
  end
  if #plans == 0 then return out end
  local reigns = foreign and newReigns(KEYS[1], KEYS[2], info)

  id = pcall('XADD', KEYS[1], '*', unpack(changes))
  if type(id) == 'table' then
    for _, p in ipairs(plans) do out[p.n] = 'DISAGREE' end
    return out
  end
  ts = sub(id, 1, find(id, '-', 1, true) - 1)

  local function ok(reply) return reply and type(reply) ~= 'table' end

  -- enter makes the writes of a plan that can fail, because a key is not what it should be.
  local function enter(p)
    local opt = p.opt
    if p.new then
      local name = string.gsub(p.segment, '%%(%x%x)', function(x) return string.char(tonumber(x, 16)) end)
      if not ok(pcall('ZADD', KEYS[3], 0, name)) then return false end
      if opt and opt.p and not ok(pcall('SADD', KEYS[8], p.segment .. ' ' .. p.inc .. ' ' .. opt.p.cap)) then
        return false
      end
      if opt and (opt.w or opt.x) then
        p.timed, p.ttl, p.deadline = 't', opt.w, opt.x
      end
    end
    if p.ttl then p.deadline = fmt('%.0f', tonumber(ts) + tonumber(p.ttl)) end
    if (p.ttl or (p.new and p.deadline)) and not ok(pcall('ZADD', KEYS[4], p.deadline, 't' .. p.segment)) then
      return false
    end
    if p.fresh and sub(p.row, 1, 3) == 'p:~'
      and not ok(pcall('ZADD', KEYS[4], 'NX', fmt('%.0f', tonumber(ts) + DAY), 'p' .. p.segment)) then
      return false
    end
    if p.count == 0 then return true end
    if p.state == 'o' then
      return ok(pcall('XADD', p.log, 'NOMKSTREAM', p.last .. '-' .. ts, p.number, p.frame))
    end
    return ok(pcall('XADD', p.log, p.last .. '-' .. ts, p.number, p.frame))
  end

  for i, p in ipairs(plans) do
    if not enter(p) then
      out[p.n] = 'DISAGREE'
      refused = true
      changes[2 * i] = false
    else
      local opt = p.opt
      local fields
      if p.new then
        created = true
        call('DEL', p.meta)
      end
      if p.lineage ~= lineage then
        local list = p.new and '' or call('HGET', p.meta, 'l') or ''
        fields = {'l', sub(lineage .. ':' .. fmt('%.0f', p.prev + 1) .. ' ' .. list, 1, 2048)}
      end
      if p.ended then
        fields = fields or {}
        fields[#fields + 1] = 'y'
        fields[#fields + 1] = p.ended
      end
      local state = p.state
      if p.count > 0 then state = 'o' end
      if opt or p.state == 'e' or p.ttl then
        fields = fields or {}
        local function set(name, value)
          fields[#fields + 1] = name
          fields[#fields + 1] = value
        end
        if p.new then set('b', id) end
        if p.state == 'e' and p.count > 0 then set('f', fmt('%.0f', p.prev + 1) .. ' ' .. ts .. ' ' .. p.proof) end
        if p.ttl or (p.new and p.deadline) then set('d', p.deadline) end
        if opt then
          if opt.v then
            state = 'c'
            set('s', opt.v)
          end
          if opt.q then set('q', opt.q) end
          if p.new and opt.n then
            set('n', opt.n)
            set('c', opt.c)
          end
          if p.new and opt.p then set('p', opt.p.segment .. ' ' .. opt.p.inc .. ' ' .. opt.p.cap) end
          if p.new and opt.w then set('w', opt.w) end
          if p.new and opt.o then set('o', opt.o) end
        end
      end
      local tail = p.last .. ' ' .. p.number .. ' ' .. p.gen .. ' ' .. ts
      local mark = p.count > 0 and sub(p.frame, PROOF, PROOF_END) or p.proof
      local head = '1' .. p.inc .. mark .. lineage .. state .. p.timed .. tail
      local mine = sub(p.frame, 10, 25) .. p.mine .. p.last .. ' ' .. p.number .. ' ' .. ts
      if fields then
        call('HSET', p.meta, 'h', head, p.row, mine, unpack(fields))
      else
        call('HSET', p.meta, 'h', head, p.row, mine)
      end
      local notice = p.proof .. fmt('%.0f', p.prev) .. ' ' .. head .. '\n'
      if p.count > 0 and #p.frame <= NOTICE then notice = notice .. p.frame end
      call('PUBLISH', channel .. p.segment, notice)
      out[p.n] = '+' .. (p.new and '1' or '0') .. (state == 'c' and '1 ' or '0 ') .. fmt('%.0f', p.prev + 1) .. ' ' ..
        p.last .. ' ' .. p.number .. ' ' .. ts .. ' ' .. p.gen .. ' ' .. lineage .. (p.count == 0 and p.proof or '')
    end
  end
  tell(KEYS[1], KEYS[2], prefix, id, ts, changes, refused, created, reigns)
end
return out
