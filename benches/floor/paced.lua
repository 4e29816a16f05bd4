-- Reads for wrk at a rate, whatever they are answered: `wrk -s paced.lua URL -- RATE PATH [NUMBER]`.
-- `%d` in PATH becomes NUMBER, NUMBER + 1, … in an order that looks random, each below MOST: as
-- many different requests. One thread only. It looks at no answer, which would cost it as much again.
dofile("totals.lua")

local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } instant; int clock_gettime(int, instant *);")

local MOST, STEP = 576000, 7919
local moment = ffi.new("instant")

local function now_ms()
  ffi.C.clock_gettime(1, moment)
  return tonumber(moment.s) * 1e3 + tonumber(moment.ns) / 1e6
end

function init(args)
  gap_ms = 1e3 / tonumber(args[1])
  path = args[2]
  number = tonumber(args[3] or 0)
end

function delay()
  local now = now_ms()
  due = math.max((due or now) + gap_ms, now - 100)
  return math.max(0, due - now)
end

function request()
  number = number + 1
  return wrk.format("GET", path:format(1 + number * STEP % MOST))
end
