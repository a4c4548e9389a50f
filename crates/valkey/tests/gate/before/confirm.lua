-- Reservations whose publication counts become coupons.
-- KEYS  g, u, p, z, q of the epoch, then k of each event that bears a key
-- ARGV  1 the connection's server  2 epoch  3 now, then for each event: user, coupon id, which of KEYS is its k or '0'
-- Answers for each event whether its reservation was there. It runs even where memory is used up: it hardly needs any,
-- and newcomers wait for it.
local g, u, p, z, q = unpack(KEYS, 1, 5)
local server, epoch, now = unpack(ARGV, 1, 3)

local _, shut = open(g, server, epoch, clock_ms(), true)
if shut then
  return shut
end

local answer, count = { 'D' }, 0
for i = 4, #ARGV, 3 do
  local user, coupon, k = ARGV[i], ARGV[i + 1], KEYS[tonumber(ARGV[i + 2])]
  local event = redis.call('HGET', p, user)
  if event and string.sub(event, 1, 16) == coupon then
    redis.call('HDEL', p, user)
    redis.call('ZREM', z, user)
    redis.call('SADD', u, user)
    if string.byte(event, 25) == 1 then
      redis.call('HDEL', q, string.sub(event, 26, 41))
      if k then
        keep(k, 'I', string.sub(event, 42, 57), now)
      end
    end
    count = count + 1
    answer[#answer + 1] = 1
  else
    answer[#answer + 1] = 0
  end
end
if count > 0 then
  redis.call('HINCRBY', g, 'conf', count)
  redis.call('HSET', g, 'confirmed_at', now)
end
return answer
