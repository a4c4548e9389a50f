-- Counts those of these users who have neither a coupon nor a reservation at the gate.
-- KEYS  g, u, p of the epoch
-- ARGV  1 the connection's server  2 epoch, then the users
local g, u, p = unpack(KEYS)
local server, epoch = unpack(ARGV, 1, 2)

local _, shut = open(g, server, epoch, clock_ms(), false)
if shut then
  return shut
end
local count = 0
for i = 3, #ARGV do
  if redis.call('SISMEMBER', u, ARGV[i]) == 0 and redis.call('HEXISTS', p, ARGV[i]) == 0 then
    count = count + 1
  end
end
return { 'D', count }
