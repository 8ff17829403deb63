-- POST of random documents that are stored already, equal to what is stored; the argument
-- is how many there are. The documents are those of scripts/peers/documents.py.
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local headers = { ["Content-Type"] = "application/json" }
local stored

function init(arguments)
  stored = tonumber(arguments[1]) or 10000
  math.randomseed(1000003 * (number + 1))
end

function request()
  local id = math.random(stored)
  local document = string.format('{"n":%d,"color":"blue","text":"', id)
  document = document .. string.rep("x", 100 - #document - 2) .. '"}'
  return wrk.format("POST", "/api", headers, string.format('{"id":%d,"data":%s}', id, document))
end
