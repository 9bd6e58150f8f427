-- head takes apart a head, which is the field h of the meta of a segment. Names in capitals are where its parts begin
-- and end: scripts.go puts the numbers of meta.go in their place. After NUMBERS_AT comes
-- "<last> <number> <generation> <ts>".
--
-- States: e open, its log may be missing; o open; c closed; d deleted but read by forks; x tombstone. A segment that has
-- a deadline is timed.
local function incarnationOf(head) return string.sub(head, INCARNATION_AT, INCARNATION_END) end
local function proofOf(head) return string.sub(head, PROOF_AT, PROOF_END) end
local function stateOf(head) return string.sub(head, STATE_AT, STATE_AT) end
local function isTimed(head) return string.sub(head, TIMED_AT, TIMED_AT) == 't' end
local function lastOf(head) return string.match(head, '^%d+', NUMBERS_AT) end

-- isGone reports whether at most forks may read the segment.
local function isGone(head)
  local state = stateOf(head)
  return state == 'x' or state == 'd'
end

-- withState returns the head in another state, and with another mark for its deadline if one is given.
local function withState(head, state, timed)
  return string.sub(head, 1, STATE_AT - 1) .. state .. (timed or string.sub(head, TIMED_AT, TIMED_AT)) .. string.sub(head, NUMBERS_AT)
end

-- unknownLayout returns the answer LAYOUT <version> for a head that this program cannot read, else nil.
local function unknownLayout(head)
  local version = string.sub(head, LAYOUT_AT, LAYOUT_AT)
  if version ~= HEAD_VERSION then return 'LAYOUT ' .. version end
end

-- incarnationIn returns the incarnation with which the key of a log ends.
local function incarnationIn(log) return string.sub(log, -16) end
