-- GET of random ids; arguments: how many are stored, from 1; what stands before the id
-- in the path (default /docs/); what ids are multiples of (default 1).
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local stored, path, stride

function init(arguments)
  stored = tonumber(arguments[1]) or 10000
  path = (arguments[2] or "/docs/") .. "%.0f"
  stride = tonumber(arguments[3]) or 1
  math.randomseed(1000003 * (number + 1))
end

function request()
  return wrk.format("GET", path:format(math.random(stored) * stride))
end
