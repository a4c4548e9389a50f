-- Shared by the scripts that read or write finished answers: a letter for the outcome, 16 bytes that tell the body,
-- and when it was stored, in microseconds by the caller's clock.

-- What was answered to this key, or nil. It counts for 24 hours by the caller's clock too, not only by this server's.
local function answered(k, body, now)
  local kept = redis.call('GET', k)
  if not kept or tonumber(now) - tonumber(string.sub(kept, 18)) >= 86400000000 then
    return nil
  end
  if string.sub(kept, 2, 17) ~= body then
    return { 'M' }
  end
  return { 'Y', string.sub(kept, 1, 1) }
end

-- Stores an answer, over one that no longer counts.
local function keep(k, letter, body, now)
  redis.call('SET', k, letter .. body .. now, 'PX', 86400000)
end
