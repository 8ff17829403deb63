-- POST of distinct ids; arguments: a number that keeps runs on one store apart; what ids
-- are multiples of (default 1).
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local headers = { ["Content-Type"] = "application/json" }
local id, stride

function init(arguments)
  local run = tonumber(arguments[1]) or 1
  stride = tonumber(arguments[2]) or 1
  -- Below 2^31, so that multiples of 2^32 fit 64 bits.
  id = run * 1e7 + number * 1e6
end

function request()
  id = id + 1
  return wrk.format("POST", "/api", headers, string.format('{"id":%.0f,"data":{"color":"blue"}}', id * stride))
end
