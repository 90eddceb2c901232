-- Hand out arguments: first those whose consumer went silent or whose next try is due, then new ones.
-- KEYS arguments, counters, dead letters, failures
-- ARGV consumer, how many, visibility in ms, most tries, whether to look for silent consumers, round
-- returns {id, argument, try, index} each; the last element is 1 when everything pushed has ended and the queue is closed
-- in this round
local consumer, wanted, visibility, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local taken = {}
local MOST_LOOKS = 1000

local function bury(entry, argument, why, tries)
  local id = entry[1]
  redis.call('XADD', KEYS[3], '*', 'argument', argument, 'error', why, 'tail', '', 'tries', tries, 'at', redis.call('TIME')[1],
    'index', index_of(entry))
  redis.call('XACK', KEYS[1], 'consumers', id)
  redis.call('XDEL', KEYS[1], id)
  redis.call('HDEL', KEYS[4], id)
  bump(KEYS[2], 'dead', 1)
end

local function hand_out(entry, try)
  local argument = argument_of(entry)
  if not argument then
    bury(entry, '', 'primage-queue did not write this entry: it is not one argument of at most 1 MiB', 0)
  elseif try > most then
    local why = redis.call('HGET', KEYS[4], entry[1]) or 'its consumer died each time before it could say anything'
    bury(entry, argument, string.sub(why, 1, MOST_WORDS), try - 1)
  else
    taken[#taken + 1] = {entry[1], argument, try, index_of(entry)}
  end
end

if ARGV[5] == '1' then
  local from, looks = '0-0', 0
  repeat  -- one call looks at ten times as many entries as are wanted, and those at the front may be held for long
    local claimed = redis.call('XAUTOCLAIM', KEYS[1], 'consumers', consumer, visibility, from, 'COUNT', wanted - #taken)
    for _, entry in ipairs(claimed[2]) do
      hand_out(entry, redis.call('XPENDING', KEYS[1], 'consumers', entry[1], entry[1], 1)[1][4])
    end
    from, looks = claimed[1], looks + 1
  until from == '0-0' or #taken == wanted or looks == MOST_LOOKS
end
if #taken < wanted then
  local new = redis.call('XREADGROUP', 'GROUP', 'consumers', consumer, 'COUNT', wanted - #taken, 'STREAMS', KEYS[1], '>')
  if new then
    for _, entry in ipairs(new[1][2]) do hand_out(entry, 1) end
  end
end
-- What has ended has left the stream: its length says whether anything is left, whatever the counters say.
taken[#taken + 1] = (redis.call('HGET', KEYS[2], 'closed_round') == ARGV[6] and redis.call('XLEN', KEYS[1]) == 0) and 1 or 0
return taken
