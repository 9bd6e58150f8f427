-- append adds frames to segments of one space, each all or none and each answered by itself. A frame may carry no
-- record, to create or to close a segment. It makes every check; frames whose sender has made the checks go the way of
-- short.lua, and known.lua, which stands before this, stores what is most usual. Its core is in frames.lua: check refuses
-- a frame or makes a plan, and write stores plans.
--
-- KEYS[1]       timeline
-- KEYS[2]       the space
-- KEYS[3]       inventory
-- KEYS[4]       deadlines
-- KEYS[2n+3]    meta of the segment of frame n; no two frames are for one segment
-- KEYS[2n+4]    its log; the key ends with the incarnation
-- ARGV[2n-1]    frame n, see frame.go
-- ARGV[2n]      "<mode><row> <epoch> <seq> <expect> <generation>" and then nothing or the options as JSON.
--               mode '=': the segment must have this incarnation; '+': it may be created with it; '~': as '+',
--               or it has another one, and the frame is for that. The log of that one is not among KEYS, so
--               on a cluster there is no such mode
--   options     a "<inc> <lineage> <seq>" of the last entry that the caller was told of
--               m must exist · k check only · d digest of the records · v verdict, closes
--               c, n content type as given and normalised · q stream seq in hex
--               w sliding ttl in ms · x deadline in ms · o origin · z create only
--               p fork of: segment, inc, cap, number, proof; there is then one frame, and
--                 KEYS[7] is the meta of the parent, KEYS[8] the set of its forks
--
-- Returns for each frame one of these; before it stands ~<incarnation> if mode '~' has found another one
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
--   MISMATCH <epoch> <seq> <closed> <first> <last> <number> <ts> <generation> <lineage><proof><digest>   as R, of
--                                                   another frame, whose digest has 8 raw bytes
--   SEQUENCE <expected>
--   LAYOUT <version>                                unknown layout
--   DISAGREE                                        a key is not what it should be, or they contradict each other
local out, plans = {}, {}
local parent, forks
if #KEYS > 4 + #ARGV then parent, forks = KEYS[7], KEYS[8] end
for n = 1, #ARGV / 2 do
  local answer, plan = check(ARGV[2 * n - 1], ARGV[2 * n], KEYS[2 * n + 3], KEYS[2 * n + 4], parent)
  out[n] = answer and adopted .. answer
  if plan then
    plans[#plans + 1] = plan
    plan.n = n
  end
end
write(plans, {timeline = KEYS[1], space = KEYS[2], inventory = KEYS[3], deadlines = KEYS[4], forks = forks})
for _, plan in ipairs(plans) do out[plan.n] = plan.answer end
return out
