-- GET of random ids, pipelined by 16; arguments: how many are stored, from 1; what stands
-- before the id in the path (default /docs/).
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local depth = 16
local stored, path
local batch = {}

function init(arguments)
  stored = tonumber(arguments[1]) or 10000
  path = arguments[2] or "/docs/"
  math.randomseed(1000003 * (number + 1))
end

function request()
  for n = 1, depth do
    batch[n] = wrk.format("GET", path .. math.random(stored))
  end
  return table.concat(batch)
end
