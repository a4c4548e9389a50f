-- Lists the coupons of users 0 to count - 1, over and over.
function init(args)
  local threads, count = tonumber(args[3]), tonumber(args[4])
  local finish = headers(args[1], args[2]) .. "\r\n"
  local at = number
  request = function()
    local whole = "GET /v1/user-coupons?userId=" .. user(at) .. finish
    at = at + threads
    if at >= count then at = number end
    return whole
  end
end
