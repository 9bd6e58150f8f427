-- tell ends what was written to a space, and notifies its followers, whose channel has the name of the timeline. changes are the fields of the entry of the
-- timeline with this id; refused says that false stands in the place of some references, whose frames were not
-- stored. created says that a segment was created, and reigns is the list of lineages of the space, if it has become
-- another one; only these two need the key of the space.
--
-- A notice is a hint. Where the user may not publish, what was written counts, so every script publishes by pcall: call
-- would end it after some of its writes.
local function tell(timeline, space, id, ts, changes, refused, created, reigns)
  local call = redis.call
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
    id = call('XADD', timeline, ts .. '-' .. string.format('%.0f', tonumber(string.sub(id, #ts + 2)) + 1), unpack(changes))
  end
  -- Where the timeline begins, and with what: a reader that finds it to begin later, or with something else at the
  -- same time, knows that its start was lost.
  if created and redis.pcall('HSETNX', space, 's', id) == 1 then
    redis.pcall('HSET', space, 'b', changes[1] .. ' ' .. changes[2])
  end
  if reigns then redis.pcall('HSET', space, 'g', reigns) end
  redis.pcall('PUBLISH', timeline, id .. ' ' .. table.concat(changes, ' '))
end
