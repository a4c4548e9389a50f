-- Shared by the scripts that read or write finished answers: a letter for the outcome, 16 bytes that tell the body, when
-- it was stored, in microseconds by the caller's clock, and behind a point, if it is known, the number under which the
-- database keeps what was answered. (A program that knows nothing of the latter reads a time with a fraction.)

-- What was answered to this key, or nil. It counts for 24 hours by the caller's clock too, not only by this server's.
-- 'V': it is written in a form that this program does not know.
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

-- Stores an answer, over one that no longer counts.
local function keep(k, letter, body, now, answer)
  if answer ~= '' then
    now = now .. '.' .. answer
  end
  redis.call('SET', k, letter .. body .. now, 'PX', 86400000)
end
