-- Shared by the scripts that read or write finished answers. An answer has a letter for the outcome, 16 bytes of the
-- body's digest, the time at which it was stored, in microseconds by the caller's clock, and then, if it is known, a point
-- and the number under which the database stores the answer's text. (A program that does not know the number reads it as
-- the fraction of the time.)

-- Returns the answer that this key got before, or nil. It counts for 24 hours by the caller's clock, not only by this
-- server's. 'V' stands for an answer in a form that this program does not know.
local function answered(k, body, now)
  local kept = redis.call('GET', k)
  if not kept then
    return nil
  end
  local letter = string.sub(kept, 1, 1)
  local at, answer, coupon = string.match(string.sub(kept, 18), '^(%d+)%.?(%d*)%.?(%x*)$')
  if not at or (coupon ~= '' and #coupon ~= 32) or not string.find('ITOPNAS', letter, 1, true) then
    return { 'V' }
  end
  if tonumber(now) - tonumber(at) >= 86400000000 then
    return nil
  end
  if string.sub(kept, 2, 17) ~= body then
    return { 'M' }
  end
  return { 'Y', letter, answer, coupon }
end

-- Stores an answer, in place of one that no longer counts.
local function keep(k, letter, body, now, answer)
  if answer ~= '' then
    now = now .. '.' .. answer
  end
  redis.call('SET', k, letter .. body .. now, 'PX', 86400000)
end
