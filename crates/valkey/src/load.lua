-- Loads a batch of users, and of successes under their keys, for an epoch that is about to be installed.
-- KEYS  g, u of the epoch, then k of each success
-- ARGV  1 the connection's server  2 epoch  3 number of users, then the users,
--       then for each success: the content of its k, and the milliseconds for which it is still to be kept
-- The epoch's number is put into `u` as a mark; it cannot be a user, which has 16 bytes. It shows the installation that
-- the loaded users were not lost meanwhile, even if there were none.
local g, u = unpack(KEYS, 1, 2)
local server, epoch, users = unpack(ARGV, 1, 3)
users = tonumber(users)

if identity() ~= server then
  return { 'X' }
end
local there = redis.call('HGET', g, 'epoch')
if there and tonumber(there) >= tonumber(epoch) then
  return { 'O', there }
end

redis.call('SADD', u, epoch)
for from = 4, users + 3, 1000 do
  redis.call('SADD', u, unpack(ARGV, from, math.min(from + 999, users + 3)))
end
redis.call('PEXPIRE', u, 3600000)
for i = 3, #KEYS do
  local at = users + 4 + (i - 3) * 2
  redis.call('SET', KEYS[i], ARGV[at], 'NX', 'PX', ARGV[at + 1])
end
return { 'D' }
