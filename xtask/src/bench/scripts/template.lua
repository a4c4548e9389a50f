-- Reads the detail of template `template`.
function init(args)
  local whole = "GET /v1/coupon-templates/" .. args[4] .. headers(args[1], args[2]) .. "\r\n"
  request = function() return whole end
end
