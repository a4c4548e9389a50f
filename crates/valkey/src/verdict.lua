-- Remembers a refusal by the template while no gate holds places: none was ever opened, or it was folded.
-- KEYS  g, k
-- ARGV  1 the epoch that the caller knows  2 now  3 letter of the refusal  4 body
--       5 the number of the answer, or ''
-- A gate that was opened meanwhile may have a reservation of this very key, so the caller must ask it instead.
local g, k = unpack(KEYS)
local epoch, now, letter, body, answer = unpack(ARGV)

local before = answered(k, body, now)
if before then
  return before
end
local there = redis.call('HGET', g, 'epoch')
if there and tonumber(there) > tonumber(epoch) then
  return { 'C', there, 0 }
end
keep(k, letter, body, now, answer)
return { 'N' }
