-- Redeems the coupons of the files `file`.0, `file`.1, …, one for each thread (lines `user coupon`), one after the other.
function init(args)
  local finish = headers(args[1], args[2]) .. "Content-Type: application/json\r\nContent-Length: 75\r\n\r\n"
  local lines = io.lines(args[4] .. "." .. number)
  local at = 0
  request = function()
    -- Out of coupons, what is sent is refused, so that the run counts for nothing.
    local line = lines and lines()
    if not line then
      lines, line = nil, "user-00000000 00000000000000000000000000000000"
    end
    at = at + 1
    return "POST /v1/user-coupons/" .. line:sub(15) .. "/redeem" .. finish
      .. string.format('{"userId":"%s","orderAmount":15000,"orderId":"order-%d%09d"}', line:sub(1, 13), number, at)
  end
end
