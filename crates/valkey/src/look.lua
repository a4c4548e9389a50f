-- Reads the state of a gate, a user and a key, without changing anything.
-- KEYS  g, u, p, q of the epoch, and k if a key is asked about
-- ARGV  1 the connection's server  2 epoch  3 now  4 user, or ''  5 key  6 body
-- Returns the state of the key, then that of the gate.
local g, u, p, q, k = unpack(KEYS)
local server, epoch, now, user, key, body = unpack(ARGV)

local known = k and answered(k, body, now)
local gate, shut = open(g, server, epoch, clock_ms(), false)
if shut then
  return { known or {}, shut }
end
if k and not known and redis.call('HEXISTS', q, key) == 1 then
  known = { 'P' }
end
local has = ''
if user ~= '' then
  if redis.call('HEXISTS', p, user) == 1 then
    has = 'P'
  elseif redis.call('SISMEMBER', u, user) == 1 then
    has = 'I'
  end
end
return { known or {}, { 'D', gate.cap, gate.base, gate.spent, gate.conf, has, gate.confirmed_at } }
