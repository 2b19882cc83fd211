-- For wrk: POSTs the picture whose path follows `--`, again and again; says how many answers were no success.
local threads = {}
function setup(thread)
  table.insert(threads, thread)
end
function init(args)
  local file = assert(io.open(args[1], "rb"), "no picture: wrk ... URL -- PICTURE")
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/octet-stream"
  wrk.body = file:read("*a")
  file:close()
  failed = 0
end
function response(status)
  if status ~= 200 then failed = failed + 1 end
end
function done(summary, latency)
  local failed = 0
  for _, thread in ipairs(threads) do failed = failed + thread:get("failed") end
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.3f, "per_second": %.2f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "not_200": %d, "socket_errors": %d}\n',
    summary.requests, summary.duration / 1e6, summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, failed, e.connect + e.read + e.write + e.timeout))
end
