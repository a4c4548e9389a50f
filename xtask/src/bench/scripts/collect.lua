-- Lists the coupons of users 0 to count - 1 once and writes `user coupon` lines to folder/N.ids, renamed from folder/N.part when whole.
-- With one connection a thread, answers come in the order of the requests, so that the user of an answer is known.
function init(args)
  local threads, count, folder = tonumber(args[3]), tonumber(args[4]), args[5]
  local finish = headers(args[1], args[2]) .. "\r\n"
  local at = number
  local name = folder .. "/" .. number
  local file = assert(io.open(name .. ".part", "w"))
  request = function()
    return "GET /v1/user-coupons?userId=" .. user(at) .. finish
  end
  response = function(status, _, body)
    -- Whatever is not answered is asked again.
    if status ~= 200 or at >= count then return end
    for id in body:gmatch('"userCouponId"%s*:%s*"(%x+)"') do
      file:write(user(at), " ", id, "\n")
    end
    at = at + threads
    if at >= count then
      file:close()
      os.rename(name .. ".part", name .. ".ids")
      wrk.thread:stop()
    end
  end
end
