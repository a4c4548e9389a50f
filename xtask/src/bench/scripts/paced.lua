
-- Behind issue.lua: each connection waits `pause` milliseconds, the script's last argument, before its next request.
local pause
local at_full_speed = init

function init(args)
  pause = tonumber(args[8])
  at_full_speed(args)
end

function delay()
  return pause
end
