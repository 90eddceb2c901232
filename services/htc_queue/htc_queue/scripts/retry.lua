-- Push dead letters again, with all their tries; one that holds no argument is dropped.
-- KEYS arguments, counters, dead letters   ARGV most at a time   returns how many were looked at, and how many pushed
local letters = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', ARGV[1])
local pushed = 0
for _, letter in ipairs(letters) do
  local argument = argument_of({letter[1], {letter[2][1], letter[2][2]}})
  if argument then
    local index = 0
    for i = 3, #letter[2] - 1, 2 do
      if letter[2][i] == 'index' then index = number(letter[2][i + 1]) end
    end
    redis.call('XADD', KEYS[1], '*', 'argument', argument, 'index', index)
    pushed = pushed + 1
  end
  redis.call('XDEL', KEYS[3], letter[1])
end
if #letters > 0 then bump(KEYS[2], 'dead', -#letters) end
return {#letters, pushed}
