-- The gates of this server with reservations that are to be looked at now, those that wait longest first.
-- KEYS  the server's list of gates with reservations
-- ARGV  1 how many at most
local until_ms = string.format('%.0f', clock_ms())
return redis.call('ZRANGE', KEYS[1], '-inf', until_ms, 'BYSCORE', 'LIMIT', 0, ARGV[1])
