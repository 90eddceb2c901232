-- A try failed: hand the argument out again after a pause, or keep it as a dead letter after the last try.
-- KEYS arguments, counters, dead letters, failures
-- ARGV consumer, id, most tries, visibility in ms, pause in ms, error, tail
-- returns 'retry', 'dead', or 'lost' when another consumer has the argument by now
local pending = redis.call('XPENDING', KEYS[1], 'consumers', ARGV[2], ARGV[2], 1, ARGV[1])
if #pending == 0 then return 'lost' end
local try = pending[1][4]
-- A Redis whose memory is full refuses a script's first write if that needs memory: what needs none goes first.
if try < tonumber(ARGV[3]) then
  -- Idle for so long that it is due again after the pause; JUSTID does not count as a try.
  local idle = math.max(0, tonumber(ARGV[4]) - tonumber(ARGV[5]))
  redis.call('XCLAIM', KEYS[1], 'consumers', 'retry', 0, ARGV[2], 'IDLE', idle, 'JUSTID')
  redis.call('HSET', KEYS[4], ARGV[2], ARGV[6])
  return 'retry'
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
redis.call('XACK', KEYS[1], 'consumers', ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[2])
if not entry then return 'lost' end
redis.call('XADD', KEYS[3], '*', 'argument', argument_of(entry) or '', 'error', ARGV[6], 'tail', ARGV[7], 'tries', try,
  'at', redis.call('TIME')[1], 'index', index_of(entry))
bump(KEYS[2], 'dead', 1)
return 'dead'
