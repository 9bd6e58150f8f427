-- list removes the workers whose deadline has passed and returns the others.
--
-- KEYS[1], KEYS[2]  see workers.lua
--
-- Returns  {id, "1 <holder> <last seen in ms> <metadata as JSON>", …} in no order
if expire() > 0 then tell() end
return redis.call('HGETALL', KEYS[2])
