-- POST of distinct ids; the argument keeps runs on one store apart.
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local headers = { ["Content-Type"] = "application/json" }
local id

function init(arguments)
  local run = tonumber(arguments[1]) or 1
  id = run * 1e12 + number * 1e9
end

function request()
  id = id + 1
  return wrk.format("POST", "/api", headers, string.format('{"id":%.0f,"data":{"color":"blue"}}', id))
end
