-- archivedTo returns the last sequence, in decimals, that is archived of a segment with this field z in a space that
-- is archived up to position. See commit.lua.
local function archivedTo(z, position)
  local last, place, before = string.match(z or '0', '^(%d+) ?(%S*) ?(%d*)$')
  if place == '' then return last end
  local ms, n = string.match(place, '^(%d+)-(%d+)$')
  local pms, pn = string.match(position, '^(%d+)-(%d+)$')
  if tonumber(pms) > tonumber(ms) or (pms == ms and tonumber(pn) >= tonumber(n)) then return last end
  return before
end
