-- Say that a consumer is still at work on its arguments.
-- KEYS arguments   ARGV consumer, ids   returns the ids that are another consumer's by now
local lost = {}
for i = 2, #ARGV do
  if #redis.call('XPENDING', KEYS[1], 'consumers', ARGV[i], ARGV[i], 1, ARGV[1]) == 1 then
    redis.call('XCLAIM', KEYS[1], 'consumers', ARGV[1], 0, ARGV[i], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
