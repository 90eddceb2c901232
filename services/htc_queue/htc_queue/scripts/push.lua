-- Add arguments that were never pushed before, so that a producer killed half-way can simply be run again.
-- KEYS arguments, counters, seen   ARGV round, then pairs of digest, argument   returns how many were new
local fresh = {}
for i = 2, #ARGV, 2 do
  if redis.call('SISMEMBER', KEYS[3], ARGV[i]) == 0 and not fresh[ARGV[i]] then
    fresh[ARGV[i]] = true
    fresh[#fresh + 1] = i
  end
end
if #fresh > 0 and redis.call('HGET', KEYS[2], 'closed_round') == ARGV[1] then
  return redis.error_reply('CLOSED')
end
local index = number(redis.call('HGET', KEYS[2], 'pushed'))
for place, i in ipairs(fresh) do
  redis.call('SADD', KEYS[3], ARGV[i])
  redis.call('XADD', KEYS[1], '*', 'argument', ARGV[i + 1], 'index', index + place - 1)
end
bump(KEYS[2], 'pushed', #fresh)
if #fresh > 0 then
  -- Closed in an earlier round. Not before: Redis looks at its memory's limit at the first write alone, and this one needs none.
  redis.call('HDEL', KEYS[2], 'closed_round')
end
return #fresh
