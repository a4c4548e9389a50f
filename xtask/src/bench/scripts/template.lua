-- Reads the detail of template `template`, for user `user` if there is one.
function init(args)
  local query = args[5] and ("?userId=" .. args[5]) or ""
  local whole = "GET /v1/coupon-templates/" .. args[4] .. query .. headers(args[1], args[2]) .. "\r\n"
  request = function() return whole end
end
