-- Reads for wrk at a rate, whatever they are answered: `wrk -s paced.lua URL -- RATE PATH NUMBER
-- LEAST MANY`. `%d` in PATH becomes one of MANY numbers from LEAST on, in an order that looks random
-- and begins anew after MANY; NUMBER is how many were asked for before. One thread only. It looks at no answer, which would cost it as much again.
dofile("totals.lua")

local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } instant; int clock_gettime(int, instant *);")

local STEP = 7919
local moment = ffi.new("instant")

local function now_ms()
  ffi.C.clock_gettime(1, moment)
  return tonumber(moment.s) * 1e3 + tonumber(moment.ns) / 1e6
end

function init(args)
  gap_ms = 1e3 / tonumber(args[1])
  path = args[2]
  number = tonumber(args[3])
  least = tonumber(args[4])
  many = tonumber(args[5])
end

function delay()
  local now = now_ms()
  due = math.max((due or now) + gap_ms, now - 100)
  return math.max(0, due - now)
end

function request()
  number = number + 1
  return wrk.format("GET", path:format(least + number * STEP % many))
end
