-- Confirms reservations whose published events count: their users get their coupons.
-- KEYS  g, u, p, z, q of the epoch, then k of each event that has a key
-- ARGV  1 the connection's server  2 epoch  3 now, then for each event: user, coupon id, the index of its k in KEYS or
--       '0', the number of its answer or ''
-- Returns for each event whether its reservation was there. The script runs even if memory is used up: it needs hardly
-- any, and newcomers wait for it.
local g, u, p, z, q = unpack(KEYS, 1, 5)
local server, epoch, now = unpack(ARGV, 1, 3)

local _, shut = open(g, server, epoch, clock_ms(), true)
if shut then
  return shut
end

local answer, count = { 'D' }, 0
for i = 4, #ARGV, 4 do
  local user, coupon, k, number = ARGV[i], ARGV[i + 1], KEYS[tonumber(ARGV[i + 2])], ARGV[i + 3]
  local event = redis.call('HGET', p, user)
  local form = event and string.byte(event, 25)
  if form and form <= 2 and string.sub(event, 1, 16) == coupon then
    redis.call('HDEL', p, user)
    redis.call('ZREM', z, user)
    redis.call('SADD', u, user)
    if form > 0 then
      redis.call('HDEL', q, string.sub(event, 26, 41))
      if form == 2 then
        local a, b, c, d = string.byte(event, 58, 61)
        number = string.format('%.0f', ((a * 256 + b) * 256 + c) * 256 + d)
      end
      if k then
        keep(k, 'I', string.sub(event, 42, 57), now, number)
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
