-- What the wrk scripts share: numbers for the threads, and one line of results
-- that scripts/bench.sh reads. Times are microseconds.

local report = {}

-- Gives each thread its number, 0 and up, as the global `number`.
function report.setup()
  local threads = 0
  return function(thread)
    thread:set("number", threads)
    threads = threads + 1
  end
end

-- Prints `RESULT key=value ...`.
function report.done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "RESULT requests=%d duration_us=%d p50_us=%d p99_us=%d status=%d connect=%d read=%d write=%d timeout=%d\n",
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end

return report
