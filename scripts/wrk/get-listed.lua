-- GET of a few ids, which are the arguments, at random.
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local requests = {}

function init(arguments)
  for n, id in ipairs(arguments) do
    requests[n] = wrk.format("GET", "/docs/" .. id)
  end
  math.randomseed(1000003 * (number + 1))
end

function request()
  return requests[math.random(#requests)]
end
