-- Gives a place to the first users who ask. The first rule that applies gives the answer; the numbers are the protocol's.
-- KEYS  g, u, p, z, q of the epoch, the server's set of gates with reservations, and k if the request has a key
-- ARGV  1 the connection's server  2 epoch  3 user  4 the event that is stored with a reservation; it begins with the
--       coupon's id  5 now  6 '1' if memory runs short  7 letter of the template's verdict, or ''
--       8 the gate as a member of that set, and with a key:  9 key  10 body  11 to 13 the numbers of the answers for that
--       verdict, for a user who has a coupon, and for a gate that is sold out, each or ''
-- A run that is repeated after a lost reply finds its own reservation by the coupon's id.
local g, u, p, z, q, busy, k = unpack(KEYS)
local server, epoch, user, event, now, spare, verdict, this, key, body, of_verdict, of_already, of_sold_out = unpack(ARGV)

local function refuse(letter, word, is_sure_to_come_again, answer)
  if k and not (is_sure_to_come_again and spare == '1') then
    keep(k, letter, body, now, answer)
  end
  return { word }
end

-- 1
local before = k and answered(k, body, now)
if before then
  return before
end

-- 2
local now_ms = clock_ms()
local gate, shut = open(g, server, epoch, now_ms, true)
if shut then
  return shut
end

-- 3
local mine = redis.call('HGET', p, user)
if mine and string.sub(mine, 1, 16) == string.sub(event, 1, 16) then
  return { 'R', gate.spent }
end
local holder = k and redis.call('HGET', q, key)
local held = holder and redis.call('HGET', p, holder)
if held then
  return { 'H', held }
end

-- 4
if verdict ~= '' then
  return refuse(verdict, 'N', false, of_verdict)
end

-- 5
if mine then
  return { 'H', mine }
end

-- 6
if redis.call('SISMEMBER', u, user) == 1 then
  return refuse('A', 'A', true, of_already)
end

-- The rules below rest on the gate's counts.
if not is_whole(gate, u, p, z) then
  return ruin()
end

-- 7
if gate.spent < gate.cap then
  if gate.spent == gate.conf then
    -- The reservation becomes the only unconfirmed one, so the gate is noted. pending.lua removes it once there is none.
    redis.call('ZADD', busy, string.format('%.0f', now_ms + 1000), this)
  end
  local spent = redis.call('HINCRBY', g, 'spent', 1)
  redis.call('HSET', p, user, event)
  redis.call('ZADD', z, string.format('%.0f', now_ms + 1000), user)
  if k then
    redis.call('HSET', q, key, user)
  end
  return { 'R', spent }
end

-- 8
if gate.conf == gate.cap then
  return refuse('S', 'S', true, of_sold_out)
end

-- 9
local due = redis.call('ZRANGE', z, '-inf', string.format('%.0f', now_ms), 'BYSCORE', 'LIMIT', 0, 1)[1]
local oldest = due and redis.call('HGET', p, due)
if oldest then
  redis.call('ZADD', z, string.format('%.0f', now_ms + 1000), due)
  return { 'H', oldest }
end
return { 'W' }
