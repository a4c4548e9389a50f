-- Installs an epoch with its places, if all of its users are loaded.
-- KEYS  g, u of the epoch, then u, p, z and q of older epochs, including the one that g has
-- ARGV  1 the connection's server  2 epoch  3 cap  4 base  5 number of users loaded  6 the epoch that g has, or ''
local g, u = unpack(KEYS, 1, 2)
local server, epoch, cap, base, loaded, before = unpack(ARGV)

if identity() ~= server then
  return { 'X' }
end
local there = redis.call('HGET', g, 'epoch') or ''
if there ~= '' and tonumber(there) >= tonumber(epoch) then
  return { 'O', there }
end
if there ~= before then
  return { 'B', there }
end
local count = redis.call('SCARD', u) - 1
if redis.call('SISMEMBER', u, epoch) == 0 then
  return { 'L' }
end
if count ~= tonumber(loaded) then
  return { 'N', count }
end

redis.call('DEL', g)
redis.call('HSET', g, 'epoch', epoch, 'server', server, 'cap', cap, 'base', base, 'spent', 0, 'conf', 0, 'users', count + 1,
  'layout', 1, 'checked_ms', string.format('%.0f', clock_ms()))
redis.call('PERSIST', u)
redis.call('UNLINK', unpack(KEYS, 3))
return { 'D' }
