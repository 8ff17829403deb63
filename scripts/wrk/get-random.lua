-- GET of random ids; the argument is how many are stored, from 1.
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local stored

function init(arguments)
  stored = tonumber(arguments[1]) or 10000
  math.randomseed(1000003 * (number + 1))
end

function request()
  return wrk.format("GET", "/docs/" .. math.random(stored))
end
