-- Push dead letters again, with all their tries.
-- KEYS arguments, counters, dead letters   ARGV most at a time   returns how many
local letters = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', ARGV[1])
if #letters == 0 then return 0 end
for _, letter in ipairs(letters) do
  redis.call('XADD', KEYS[1], '*', 'argument', letter[2][2])
  redis.call('XDEL', KEYS[3], letter[1])
end
redis.call('HINCRBY', KEYS[2], 'dead', -#letters)
return #letters
