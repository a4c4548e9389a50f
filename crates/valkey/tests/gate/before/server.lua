-- Shared by the scripts that ask whether the gate is open to the caller.

-- Who this server says that it is.
local function identity()
  local info = redis.call('INFO', 'server', 'replication')
  return string.match(info, '\nrun_id:(%x+)') .. ' ' .. string.match(info, '\nmaster_replid:(%x+)')
end

local function clock_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A gate of which anything was thrown away is none: it would give a place twice, or keep one back. It goes, as if the
-- server had lost all of it, and the template's next epoch is made of what is written. Who calls this has g, u, p, z
-- and q as the first of KEYS.
local function ruin()
  redis.call('UNLINK', unpack(KEYS, 1, 5))
  return { 'C', '', 2 }
end

-- Whether users and reservations are as many as the gate has counted.
local function is_whole(gate, u, p, z)
  local pending = gate.spent - gate.conf
  return redis.call('SCARD', u) == gate.users + gate.conf and redis.call('HLEN', p) == pending
    and redis.call('ZCARD', z) == pending
end

-- The protocol's second rule. Where the gate is open to who believes to talk to `server` about `epoch`, its fields;
-- else nil and the answer: the epoch that is there, and 1 if this server is not the one that the connection was made
-- to, or 2 if the gate was ruined. A check that lies in the future was made by another server's clock.
local function open(g, server, epoch, now_ms, may_write)
  local field = redis.call('HMGET', g, 'epoch', 'server', 'checked_ms', 'cap', 'spent', 'conf', 'base', 'users',
    'confirmed_at')
  for i = 1, 8 do
    if not field[i] then
      if may_write and redis.call('EXISTS', g) == 1 then
        return nil, ruin()
      end
      return nil, { 'C', '', 0 }
    end
  end
  if field[2] ~= server or field[1] ~= epoch then
    return nil, { 'C', field[1], 0 }
  end
  local age = now_ms - tonumber(field[3])
  if age < 0 or age > 100 then
    if identity() ~= server then
      return nil, { 'C', field[1], 1 }
    end
    if may_write then
      redis.call('HSET', g, 'checked_ms', string.format('%.0f', now_ms))
    end
  end
  return { cap = tonumber(field[4]), spent = tonumber(field[5]), conf = tonumber(field[6]), base = tonumber(field[7]),
    users = tonumber(field[8]), confirmed_at = field[9] or '' }
end
