-- The workloads of bench/run.sh, for wrk. WORKLOAD names one; TOKEN, ROLE_ID and SECRET_ID come from the environment.
local secret = '"user":"u","password":"0123456789abcdef"'
local workloads = {
  bare            = function() return "GET", "/" end,
  kv1_read        = function() return "GET", "/v1/bkv1/s" .. math.random(100) end,
  kv2_read        = function() return "GET", "/v1/bkv2/data/s" .. math.random(100) end,
  token_lookup    = function() return "GET", "/v1/auth/token/lookup-self" end,
  kv1_write       = function() return "POST", "/v1/bkv1/w" .. math.random(10000), "{" .. secret .. "}" end,
  kv2_write       = function() return "POST", "/v1/bkv2/data/w" .. math.random(10000), '{"data":{' .. secret .. "}}" end,
  token_create    = function() return "POST", "/v1/auth/token/create", '{"policies":["default"],"ttl":"1h"}' end,
  approle_login   = function()
    return "POST", "/v1/auth/bapprole/login",
      string.format('{"role_id":"%s","secret_id":"%s"}', os.getenv("ROLE_ID"), os.getenv("SECRET_ID"))
  end,
  transit_encrypt = function() return "POST", "/v1/btransit/encrypt/k", '{"plaintext":"aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ="}' end,
  pki_issue       = function() return "POST", "/v1/bpki/issue/r", '{"common_name":"a.bench.test","ttl":"1h"}' end,
}

local name = os.getenv("WORKLOAD")
local workload = workloads[name] or error("no workload " .. tostring(name))
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init()
  math.randomseed(os.time() + number)
  wrk.headers["Content-Type"] = "application/json"
  if name ~= "approle_login" then wrk.headers["X-Vault-Token"] = os.getenv("TOKEN") end
end

function request()
  local method, path, body = workload()
  return wrk.format(method, path, nil, body)
end

function response(status)
  if status >= 300 then bad = (bad or 0) + 1 end
end

function done(summary, latency)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.timeout
  for _, thread in ipairs(threads) do bad = bad + (thread:get("bad") or 0) end
  io.write(string.format("RESULT %.0f %.2f %.2f %d\n", summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, bad))
end
