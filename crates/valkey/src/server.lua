-- Shared by the scripts that check whether the gate is open to the caller.

-- Returns this server's identity: its run id and its replication id.
local function identity()
  local info = redis.call('INFO', 'server', 'replication')
  return string.match(info, '\nrun_id:(%x+)') .. ' ' .. string.match(info, '\nmaster_replid:(%x+)')
end

local function clock_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Deletes a gate that has lost a part: it would give a place twice, or never give it. The gate is then like one that the
-- server has lost whole, and the template's next epoch is made from the coupons that are written. The caller's first KEYS
-- are g, u, p, z and q.
local function ruin()
  redis.call('UNLINK', unpack(KEYS, 1, 5))
  return { 'C', '', 2 }
end

-- Returns whether the gate has as many users and reservations as it has counted.
local function is_whole(gate, u, p, z)
  local pending = gate.spent - gate.conf
  return redis.call('SCARD', u) == gate.users + gate.conf and redis.call('HLEN', p) == pending
    and redis.call('ZCARD', z) == pending
end

-- Returns whether this program knows the layout of the gate's keys. A gate without a layout number has layout 1. In every
-- layout `g` is a hash with the fields epoch and layout.
local function is_known(layout)
  return not layout or layout == '1'
end

-- The protocol's second rule. Returns the gate's fields if it is open to a caller whose connection was made to `server`
-- and who asks about `epoch`. Else returns nil and the answer: the epoch that g has, and 1 if this server's identity is
-- not `server`, 2 if the gate had lost a part and was deleted, 3 if its layout is not known, or 0. The identity is checked
-- every 100 ms; a check that lies in the future was made by another server's clock.
local function open(g, server, epoch, now_ms, may_write)
  local field = redis.call('HMGET', g, 'epoch', 'server', 'checked_ms', 'cap', 'spent', 'conf', 'base', 'users',
    'confirmed_at', 'layout')
  if not is_known(field[10]) then
    return nil, { 'C', field[1] or '', 3 }
  end
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
