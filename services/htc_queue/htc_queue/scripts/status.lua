-- How the queue stands, as numbers and nothing else.
-- KEYS arguments, counters, rate
-- returns left, pushed, done, dead, closed, running, consumers, ended lately, in how many seconds
local counts = redis.call('HMGET', KEYS[2], 'pushed', 'done', 'dead', 'closed_round')
local running, consumers = 0, 0
for _, consumer in ipairs(redis.call('XPENDING', KEYS[1], 'consumers')[4] or {}) do
  if consumer[1] ~= 'retry' then
    running, consumers = running + number(consumer[2]), consumers + 1
  end
end
local now = tonumber(redis.call('TIME')[1])
local bucket, lately, since = math.floor(now / 5), 0, 1
for start = bucket - 11, bucket do
  local ended = number(redis.call('HGET', KEYS[3], start))
  if ended > 0 then
    if lately == 0 then since = math.max(1, now - start * 5) end
    lately = lately + ended
  end
end
return {
  redis.call('XLEN', KEYS[1]), number(counts[1]), number(counts[2]), number(counts[3]), counts[4] and 1 or 0, running,
  consumers, lately, since
}
