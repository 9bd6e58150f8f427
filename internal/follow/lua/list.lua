-- list returns the workers whose deadline has not passed. It writes nothing, so that the list can be read in every state in
-- which Redis can be read. The next worker to join or to renew removes the others.
--
-- KEYS[1], KEYS[2]  see workers.lua
--
-- Returns  {id, "1 <holder> <last seen in ms> <metadata as JSON>", …} in no order
local gone, all, out = {}, redis.call('HGETALL', KEYS[2]), {}
for _, id in ipairs(late()) do gone[id] = true end
for i = 1, #all, 2 do
  if not gone[all[i]] then
    out[#out + 1] = all[i]
    out[#out + 1] = all[i + 1]
  end
end
return out
