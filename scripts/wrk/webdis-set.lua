-- SET of distinct keys through Webdis: what post-distinct.lua asks of OxDaaS. The argument
-- keeps runs on one store apart.
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local id

function init(arguments)
  id = (tonumber(arguments[1]) or 1) * 1e7 + number * 1e6
end

function request()
  id = id + 1
  return wrk.format("PUT", string.format("/SET/%.0f", id), nil, '{"color":"blue"}')
end
