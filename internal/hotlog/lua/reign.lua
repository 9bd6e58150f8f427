-- newReigns returns the list of lineages of a space as it must be before the next change is written to the
-- timeline, nil where it need not change. The list is the field g of the space: "<lineage>:<last timeline id
-- before it>", newest first. A place behind that id that an older lineage wrote was lost.
local function newReigns(timeline, space, lineage)
  local list = redis.pcall('HGET', space, 'g') or ''
  local last = redis.pcall('XREVRANGE', timeline, '+', '-', 'COUNT', 1)
  if type(list) ~= 'string' or last.err or string.sub(list, 1, 16) == lineage then return nil end
  return string.sub(lineage .. ':' .. (last[1] and last[1][1] or '0-0') .. ' ' .. list, 1, 2048)
end
