-- Hand out arguments: first those whose consumer went silent or whose next try is due, then new ones.
-- KEYS arguments, counters, dead letters, failures
-- ARGV consumer, how many, visibility in ms, most tries, whether to look for silent consumers
-- returns {id, argument, try} each; the last element is 1 when everything pushed has ended and the queue is closed
local consumer, wanted, visibility, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local taken = {}
if ARGV[5] == '1' then
  local claimed = redis.call('XAUTOCLAIM', KEYS[1], 'consumers', consumer, visibility, '0-0', 'COUNT', wanted)
  for _, entry in ipairs(claimed[2]) do
    local try = redis.call('XPENDING', KEYS[1], 'consumers', entry[1], entry[1], 1)[1][4]
    if try > most then
      local why = redis.call('HGET', KEYS[4], entry[1]) or 'its consumer died each time before it could say anything'
      redis.call('XADD', KEYS[3], '*', 'argument', entry[2][2], 'error', why, 'tail', '', 'tries', try - 1,
        'at', redis.call('TIME')[1])
      redis.call('XACK', KEYS[1], 'consumers', entry[1])
      redis.call('XDEL', KEYS[1], entry[1])
      redis.call('HDEL', KEYS[4], entry[1])
      redis.call('HINCRBY', KEYS[2], 'dead', 1)
    else
      taken[#taken + 1] = {entry[1], entry[2][2], try}
    end
  end
end
if #taken < wanted then
  local new = redis.call('XREADGROUP', 'GROUP', 'consumers', consumer, 'COUNT', wanted - #taken, 'STREAMS', KEYS[1], '>')
  if new then
    for _, entry in ipairs(new[1][2]) do
      taken[#taken + 1] = {entry[1], entry[2][2], 1}
    end
  end
end
local counts = redis.call('HMGET', KEYS[2], 'pushed', 'done', 'dead', 'closed')
local ended = tonumber(counts[2] or 0) + tonumber(counts[3] or 0)
taken[#taken + 1] = (counts[4] and ended == tonumber(counts[1] or 0)) and 1 or 0
return taken
