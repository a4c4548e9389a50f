-- Hands out reservations that have not been confirmed in time, oldest first. Each is then due again in a second.
-- KEYS  g, u, p, z, q of the epoch, the server's set of gates with reservations
-- ARGV  1 the connection's server  2 epoch  3 the least number of milliseconds since they were due
--       4 the largest number of reservations  5 the gate as a member of that set
-- Afterwards the gate is in the set if and only if it has an unconfirmed reservation.
local g, u, p, z, _, busy = unpack(KEYS)
local server, epoch, age, limit, this = unpack(ARGV)

local now_ms = clock_ms()
local gate, shut = open(g, server, epoch, now_ms, true)
if shut and shut[3] == 3 then
  redis.call('ZADD', busy, 'XX', string.format('%.0f', now_ms + 1000), this)
  return shut
end
if shut or not is_whole(gate, u, p, z) then
  redis.call('ZREM', busy, this)
  return shut or ruin()
end
if gate.spent == gate.conf then
  redis.call('ZREM', busy, this)
  return { 'D' }
end
redis.call('ZADD', busy, string.format('%.0f', now_ms + 1000), this)

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
