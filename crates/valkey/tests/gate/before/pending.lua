-- Reservations that nobody has confirmed for a while, oldest first. Each is then due again in a second.
-- KEYS  g, u, p, z, q of the epoch
-- ARGV  1 the connection's server  2 epoch  3 due for so many milliseconds at least  4 how many at most
local g, u, p, z = unpack(KEYS)
local server, epoch, age, limit = unpack(ARGV)

local now_ms = clock_ms()
local gate, shut = open(g, server, epoch, now_ms, true)
if shut then
  return shut
end
if not is_whole(gate, u, p, z) then
  return ruin()
end

local answer = { 'D' }
local until_ms = string.format('%.0f', now_ms - tonumber(age))
for _, user in ipairs(redis.call('ZRANGE', z, '-inf', until_ms, 'BYSCORE', 'LIMIT', 0, limit)) do
  redis.call('ZADD', z, string.format('%.0f', now_ms + 1000), user)
  local event = redis.call('HGET', p, user)
  if event then
    answer[#answer + 1] = event
  end
end
return answer
