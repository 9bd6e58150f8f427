-- session stands in front of every other script here: what a space keeps of its live streams,
-- beside their segments. T is the hash tag of the space, an id is escaped, and the name of one
-- generation of a stream is "<id>~<generation>".
--
-- sh:T:la          zset  generations without a settled verdict, by the time in ms at which their
--                        producer counts as silent
-- sh:T:ls:<id>     hash  g generation, o owner, w ms of silence allowed, k ms to keep it after its
--                        end, t start in ms, m metadata as JSON, b who produces, e set once it is over,
--                        p generation that it took over from and r
--                        how long to keep that one, in ms
-- sh:T:lr          hash  l lineage, b last beat in ms, s since when beats come without a break
-- sh:T:lw          zset  instances with readers, by deadline in ms
-- sh:T:lw:<name>   hash  instance -> its readers of a generation
local call, fmt = redis.call, string.format
local clock = call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function text(n) return fmt('%.0f', n) end
