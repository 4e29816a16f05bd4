-- Beacons for wrk: `wrk -s beacons.lua URL -- NAME PLAYS [TOKEN [BOARD]]`. Every one is a batch of its own, so that
-- none is a repeat; posts follow a power law, so that the summaries work as they do in life.
-- NAME makes this run's senders differ from those of every other run. Each sender has an address of its own, which
-- counts where the service trusts this machine as a proxy: what one address may add is limited.
dofile("totals.lua")

local POSTS, SENDERS, IDS = 200000, 5000, 65536
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  name = args[1] .. number .. "x"
  plays = tonumber(args[2])
  math.randomseed(tonumber(args[1], 36) % 1000003 + number)
  ids = {}
  for i = 1, IDS do
    ids[i] = '{"post_id":"post-' .. math.floor(POSTS ^ math.random()) .. '","timestamp":'
  end
  batch = 0
  headers = { ["Content-Type"] = "text/plain;charset=UTF-8" }
  if (args[3] or "") ~= "" then headers["Authorization"] = "Bearer " .. args[3] end
  board = (args[4] or "") ~= "" and ',"board":"' .. args[4] .. '"' or ""
end

function request()
  batch = batch + 1
  local sender = batch % SENDERS
  headers["X-Forwarded-For"] = "203." .. number .. "." .. math.floor(sender / 250) .. "." .. sender % 250
  local now = os.time() .. "000"
  local parts = {
    '{"client":"', name, sender, '","seq":', batch, ',"sent":', now, ',"now":', now, board, ',"plays":[',
  }
  for i = 1, plays do
    if i > 1 then parts[#parts + 1] = "," end
    parts[#parts + 1] = ids[math.random(IDS)]
    parts[#parts + 1] = now
    parts[#parts + 1] = "}"
  end
  parts[#parts + 1] = "]}"
  return wrk.format("POST", nil, headers, table.concat(parts))
end
