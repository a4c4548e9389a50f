-- Issues template `template` to users first, first + 1, …; starts again after `count` of them unless that is 0. Idempotent: a fresh key each.
function init(args)
  local threads, template, first = tonumber(args[3]), args[4], tonumber(args[5])
  local count, idempotent = tonumber(args[6]), args[7] == "true"
  local start = "POST /v1/coupon-templates/" .. template .. "/issue" .. headers(args[1], args[2])
    .. "Content-Type: application/json\r\nContent-Length: 26\r\n"
  local at = number
  request = function()
    local digits = mixed(first + at)
    at = at + threads
    if count > 0 and at >= count then at = number end
    local key = idempotent and ("Idempotency-Key: bench-" .. digits .. "\r\n") or ""
    return start .. key .. "\r\n{\"userId\":\"user-" .. digits .. "\"}"
  end
end
