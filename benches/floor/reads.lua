-- Reads for wrk: `wrk -s reads.lua URL -- [PATH…]`; of several paths, each connection's requests
-- take the next one.
function init(args)
  requests = {}
  for index = 1, #args do
    requests[index] = wrk.format("GET", args[index])
  end
  if #requests == 0 then requests[1] = wrk.format("GET") end
  turn = 0
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
