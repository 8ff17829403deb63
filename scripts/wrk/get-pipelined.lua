-- GET of random ids, pipelined by 16; the argument is how many are stored, from 1.
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local depth = 16
local stored
local batch = {}

function init(arguments)
  stored = tonumber(arguments[1]) or 10000
  math.randomseed(1000003 * (number + 1))
end

function request()
  for n = 1, depth do
    batch[n] = wrk.format("GET", "/docs/" .. math.random(stored))
  end
  return table.concat(batch)
end
