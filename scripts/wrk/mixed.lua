-- 95 % GET, 5 % PUT of random ids; the argument is how many are stored, from 1.
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local headers = { ["Content-Type"] = "application/json" }
local stored
local written = 0

function init(arguments)
  stored = tonumber(arguments[1]) or 10000
  math.randomseed(1000003 * (number + 1))
end

function request()
  local target = "/docs/" .. math.random(stored)
  if math.random(100) > 5 then
    return wrk.format("GET", target)
  end
  written = written + 1
  local body = string.format('{"thread":%d,"written":%d,"color":"blue"}', number, written)
  return wrk.format("PUT", target, headers, body)
end
