-- Clears away a gate whose template's sale is over. Finished answers stay until they expire.
-- KEYS  g, u, p, z, q of the epoch
-- ARGV  1 epoch
local there, layout = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'layout'))
if there ~= ARGV[1] or (layout and layout ~= '1') then
  return { 'O', there or '' }
end
if redis.call('HLEN', KEYS[3]) > 0 then
  return { 'P' }
end
redis.call('UNLINK', unpack(KEYS))
return { 'D' }
