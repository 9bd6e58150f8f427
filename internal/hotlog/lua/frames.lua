-- check and write are the core of every script that stores frames. So that a script can put checks of its own before
-- and writes of its own after, check writes nothing and write refuses nothing that check has let pass.
--
-- All keys of a script have the hash tag of one space, whose timeline is KEYS[1]. lineage is what reign returned.
local call, pcall, sub, byte, find, match = redis.call, redis.pcall, string.sub, string.byte, string.find, string.match
local fmt = string.format
local skip = #KEYS[1] + 2
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

-- agrees reports whether a log ends where the head of its segment says.
local function agrees(head, log)
  if stateOf(head) ~= 'o' then return true end
  local tail = pcall('XREVRANGE', log, '+', '-', 'COUNT', 1)
  return tail[1] and sub(tail[1][1], 1, find(tail[1][1], '-', 1, true) - 1) == lastOf(head)
end

-- adopted stands before the answer to a frame that was checked last, see append.lua.
local adopted

-- check returns an answer, or nil and the plan by which write stores the frame. It writes nothing, but for the row of a
-- repeat. order is what the caller demands, see append.lua; parent is the meta of the parent of a fork.
local function check(frame, order, meta, log, parent)
  adopted = ''
  local inc = incarnationIn(log)
  -- Of the rest only the place: it may have 1 MiB, which takes the Lua of the embedded Redis a second to match.
  local mode, row, epoch, seq, expect, gen, at = match(order, '^(.)(%S+) (%d+) (%d+) (%d+) (%d+)()')
  local rest = sub(order, at)
  local opt = rest ~= '' and cjson.decode(rest)
  local facts = pcall('HMGET', meta, 'h', row)
  if facts.err then return 'DISAGREE' end
  local head, mine = facts[1], facts[2]
  local state = head and stateOf(head)
  local ended
  if head then
    local unknown = unknownLayout(head)
    if unknown then return unknown end
    if incarnationOf(head) ~= inc then
      if mode == '=' then return 'LOST' end
      if state == 'x' then
        ended = incarnationOf(head)
        if opt and opt.a and sub(opt.a, 1, 16) == ended then return 'GONE ' .. (call('HGET', meta, 's') or '') end
        ended = sub(ended .. ' ' .. (call('HGET', meta, 'y') or ''), 1, 271)
        head, mine = nil, nil -- write clears the tombstone
      elseif mode ~= '~' then
        return 'OTHER ' .. incarnationOf(head)
      else
        inc = incarnationOf(head)
        log = sub(log, 1, -17) .. inc
        if not agrees(head, log) then return 'DISAGREE' end
        adopted = '~' .. inc
      end
    end
    if head and isGone(head) then
      return (state == 'x' and 'GONE ' or 'HELD ') .. (call('HGET', meta, 's') or '')
    end
  end
  local digest = opt and opt.d or sub(frame, FRAME_SUM_AT, FRAME_SUM_END) .. '----'
  -- Decimals are carried along as they came: to write a number costs as much as a command.
  local last, number, l, g, proof, wrote, timed = 0, 0, '0', '0', '\0\0\0\0\0\0\0\0', '', '-'
  local deadline, ttl
  if head then
    l, number, g = match(head, '^(%d+) (%d+) (%d+) %d', NUMBERS_AT)
    if not l then return 'DISAGREE' end
    last = tonumber(l)
    proof, wrote, timed = proofOf(head), sub(head, LINEAGE_AT, LINEAGE_END), sub(head, TIMED_AT, TIMED_AT)
    if mine then
      local re, rs, stored = match(mine, '^(%d+) (%d+) (.*)$', ROW_NUMBERS_AT)
      if re == epoch and rs == seq then
        -- As it is: a server that is asked for replicas or disk waits for what this connection wrote.
        call('HSET', meta, row, mine)
        local was = (state == 'c' and '1 ' or '0 ') .. stored .. ' ' .. g .. ' ' .. wrote .. proof
        if sub(mine, ROW_DIGEST_AT, ROW_DIGEST_END) == digest then
          return 'R' .. was .. sub(mine, ROW_ID_AT, ROW_ID_END)
        end
        return 'MISMATCH ' .. re .. ' ' .. rs .. ' ' .. was .. sub(mine, ROW_DIGEST_AT, ROW_DIGEST_END)
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
      local from = call('HGET', parent, 'h')
      if not from or incarnationOf(from) ~= opt.p.inc or isGone(from) or tonumber(lastOf(from)) < tonumber(opt.p.cap) then
        return 'PARENT'
      end
      l, number = opt.p.cap, opt.p.number
      last = tonumber(l)
      proof = string.gsub(opt.p.proof, '..', function(x) return string.char(tonumber(x, 16)) end)
    end
  end
  if opt and head then
    if opt.n then
      local have = call('HMGET', meta, 'n', 'c')
      if have[1] ~= opt.n then return 'CONTENT ' .. (have[2] or '') end
    end
  end
  if gen ~= g then
    if tonumber(gen) < tonumber(g) then return 'FENCED ' .. g end
    g = gen
  end
  local want, had = 0, epoch
  if mine then
    local rs
    had, rs = match(mine, '^(%d+) (%d+)', ROW_NUMBERS_AT)
    local is = tonumber(epoch)
    if is < tonumber(had) then return 'EPOCH ' .. had .. ' ' .. rs end
    if is == tonumber(had) then
      want = tonumber(rs) + 1
      if tonumber(seq) < want then return 'OLD ' .. had .. ' ' .. rs end
    end
  end
  if tonumber(seq) ~= want then return 'GAP ' .. had .. ' ' .. fmt('%.0f', want) end
  -- After the producer: a repeat carries an old one.
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
  local first = fmt('%.0f', last + 1)
  local ending = count == 1 and first or count == 0 and l or fmt('%.0f', last + count)
  local ref = ending
  if opt and opt.v then
    ref = 'c' .. ref .. ':' .. count
  elseif count == 0 then
    ref = 'n' .. ref
  elseif count > 1 then
    ref = ref .. ':' .. count
  end
  return nil, {
    meta = meta, log = log, inc = inc, frame = frame, segment = sub(meta, skip), ref = ref,
    new = not head, state = state, timed = timed, deadline = deadline, ttl = ttl, opt = opt,
    adopted = adopted, prev = l, first = first, count = count, last = ending, number = fmt('%.0f', number + alo + 256 * ahi),
    gen = g, proof = proof, lineage = wrote, ended = ended,
    row = row, fresh = not mine, mine = digest .. epoch .. ' ' .. seq .. ' ' .. first .. ' ',
  }
end

local function ok(reply) return reply and type(reply) ~= 'table' end

-- enter makes the writes of a plan that can fail, because a key is not what it should be.
local function enter(p, ts, keys)
  local opt = p.opt
  if p.new then
    local name = string.gsub(p.segment, '%%(%x%x)', function(x) return string.char(tonumber(x, 16)) end)
    if not ok(pcall('ZADD', keys.inventory, 0, name)) then return false end
    if opt and opt.p and not ok(pcall('SADD', keys.forks, p.segment .. ' ' .. p.inc .. ' ' .. opt.p.cap)) then
      return false
    end
    if opt and (opt.w or opt.x) then
      p.timed, p.ttl, p.deadline = 't', opt.w, opt.x
    end
  end
  if p.ttl then p.deadline = fmt('%.0f', tonumber(ts) + tonumber(p.ttl)) end
  if (p.ttl or (p.new and p.deadline)) and not ok(pcall('ZADD', keys.deadlines, p.deadline, 't' .. p.segment)) then
    return false
  end
  if p.fresh and sub(p.row, 1, 3) == 'p:~'
    and not ok(pcall('ZADD', keys.deadlines, 'NX', fmt('%.0f', tonumber(ts) + APPENDER_IDLE), 'p' .. p.segment)) then
    return false
  end
  if p.count == 0 then return true end
  if p.state == 'o' then
    return ok(pcall('XADD', p.log, 'NOMKSTREAM', p.last .. '-' .. ts, p.number, p.frame))
  end
  return ok(pcall('XADD', p.log, p.last .. '-' .. ts, p.number, p.frame))
end

-- write stores plans, one for each segment, and gives each its answer. keys are those of the space: timeline, space,
-- inventory, deadlines, and forks, the set of the forks of the parent, if there is one.
local function write(plans, keys)
  if #plans == 0 then return end
  local changes, foreign = {}, false
  for _, p in ipairs(plans) do
    foreign = foreign or p.lineage ~= lineage
    changes[#changes + 1] = p.segment
    changes[#changes + 1] = p.ref
  end
  local reigns = foreign and newReigns(keys.timeline, keys.space, lineage)
  local id = pcall('XADD', keys.timeline, '*', unpack(changes))
  if type(id) == 'table' then
    for _, p in ipairs(plans) do p.answer = 'DISAGREE' end
    return
  end
  local ts = sub(id, 1, find(id, '-', 1, true) - 1)
  local refused, created = false, false
  for i, p in ipairs(plans) do
    if not enter(p, ts, keys) then
      p.answer = 'DISAGREE'
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
        fields = {'l', sub(lineage .. ':' .. p.first .. ' ' .. list, 1, 2048)}
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
        if p.state == 'e' and p.count > 0 then set('f', p.first .. ' ' .. ts .. ' ' .. p.proof) end
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
      local mark = p.count > 0 and sub(p.frame, FRAME_PROOF_AT, FRAME_PROOF_END) or p.proof
      local head = HEAD_VERSION .. p.inc .. mark .. lineage .. state .. p.timed .. tail
      local mine = sub(p.frame, FRAME_ID_AT, FRAME_ID_END) .. p.mine .. p.last .. ' ' .. p.number .. ' ' .. ts
      local wrote
      if fields then
        wrote = pcall('HSET', p.meta, 'h', head, p.row, mine, unpack(fields))
      else
        wrote = pcall('HSET', p.meta, 'h', head, p.row, mine)
      end
      if ok(wrote) then
        local notice = p.proof .. p.prev .. ' ' .. head .. '\n'
        if p.count > 0 and #p.frame <= NOTICE_BYTES then notice = notice .. p.frame end
        pcall('PUBLISH', p.meta, notice)
        p.answer = p.adopted .. '+' .. (p.new and '1' or '0') .. (state == 'c' and '1 ' or '0 ') .. p.first .. ' ' ..
          p.last .. ' ' .. p.number .. ' ' .. ts .. ' ' .. p.gen .. ' ' .. lineage .. (p.count == 0 and p.proof or '')
      else -- the user has lost the right to it
        if p.count > 0 then call('XDEL', p.log, p.last .. '-' .. ts) end
        p.answer = 'DISAGREE'
        refused = true
        changes[2 * i] = false
      end
    end
  end
  tell(keys.timeline, keys.space, id, ts, changes, refused, created, reigns)
end
