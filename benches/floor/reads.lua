-- Reads for wrk: `wrk -s reads.lua URL -- [PATH…]`; of several paths, each connection's requests
-- take the next one.
dofile("totals.lua")

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
