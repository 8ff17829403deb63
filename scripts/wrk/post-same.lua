-- POST of the same document to the same id, as ExDaas measured itself.
package.path = (os.getenv("OXDAAS_WRK_SCRIPTS") or "scripts/wrk") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done

local post

function init()
  local headers = { ["Content-Type"] = "application/json" }
  post = wrk.format("POST", "/api", headers, '{"id":1,"data":{"color":"blue"}}')
end

function request()
  return post
end
