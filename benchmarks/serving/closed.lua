-- One connection per thread, so that each knows when it sent its request. Writes a line for each answer: its time and
-- latency in microseconds, and its status.
local ffi = require("ffi")
ffi.cdef([[
typedef struct { long sec; long nsec; } moment;
int clock_gettime(int clock, moment *now);
]])
local now = ffi.new("moment")

local function microseconds()
  ffi.C.clock_gettime(0, now)
  return tonumber(now.sec) * 1e6 + tonumber(now.nsec) / 1e3
end

local threads = 0
local started

function setup(thread)
  thread:set("name", tostring(threads))
  threads = threads + 1
end

function init(args)
  local body = assert(io.open(args[1], "rb"))
  local headers = {}
  for index = 3, #args, 2 do
    headers[args[index]] = args[index + 1]
  end
  ready = wrk.format("POST", nil, headers, body:read("*all"))
  body:close()
  log = assert(io.open(args[2] .. "/" .. name, "w"))
  log:setvbuf("line") -- wrk exits without closing files
end

function request()
  started = microseconds()
  return ready
end

function response(status)
  local ended = microseconds()
  log:write(string.format("%.0f %.0f %d\n", ended, ended - started, status))
end
