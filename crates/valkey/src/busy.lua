-- Returns the gates of this server whose reservations are due to be looked at, the longest due first.
-- KEYS  the server's set of gates with reservations
-- ARGV  1 the largest number of gates
local until_ms = string.format('%.0f', clock_ms())
return redis.call('ZRANGE', KEYS[1], '-inf', until_ms, 'BYSCORE', 'LIMIT', 0, ARGV[1])
