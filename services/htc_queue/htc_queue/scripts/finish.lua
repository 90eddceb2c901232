-- Acknowledge arguments that succeeded; each counts once, whoever else finished it too.
-- KEYS arguments, counters, failures, rate   ARGV ids   returns how many counted
local counted = 0
for _, id in ipairs(ARGV) do
  if redis.call('XACK', KEYS[1], 'consumers', id) == 1 then
    counted = counted + 1
    redis.call('XDEL', KEYS[1], id)
    redis.call('HDEL', KEYS[3], id)
  end
end
if counted > 0 then
  bump(KEYS[2], 'done', counted)
  local bucket = math.floor(tonumber(redis.call('TIME')[1]) / 5)
  if bump(KEYS[4], bucket, counted) == counted then
    for _, old in ipairs(redis.call('HKEYS', KEYS[4])) do
      if number(old) < bucket - 12 then redis.call('HDEL', KEYS[4], old) end
    end
  end
end
return counted
