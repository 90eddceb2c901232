-- Give arguments back untried: their consumer was told to stop. Whoever asks next gets them.
-- KEYS arguments   ARGV consumer, visibility in ms, ids
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], 'consumers', ARGV[i], ARGV[i], 1, ARGV[1])
  if #pending == 1 then
    redis.call('XCLAIM', KEYS[1], 'consumers', 'retry', 0, ARGV[i], 'IDLE', ARGV[2],
      'RETRYCOUNT', math.max(0, pending[1][4] - 1), 'JUSTID')
  end
end
return 0
