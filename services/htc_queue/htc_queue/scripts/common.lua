-- Before each of the other scripts. Whoever has the queue's password can write to Redis what primage-queue would not:
-- what is read here is looked at first, and what is not as it should be stops nobody.

local MOST_BYTES = 1048576
local MOST_WORDS = 500

-- The argument of a stream's entry, or nil where primage-queue did not write it.
local function argument_of(entry)
  local fields = entry[2]
  local known = #fields == 2 or (#fields == 4 and fields[3] == 'index')
  if known and fields[1] == 'argument' and #fields[2] > 0 and #fields[2] <= MOST_BYTES then return fields[2] end
  return nil
end

-- Add to a number of a hash; what is no number begins again.
local function bump(key, field, by)
  local done = redis.pcall('HINCRBY', key, field, by)
  if type(done) ~= 'table' then return done end
  redis.call('HSET', key, field, math.max(0, by))
  return by
end

-- A whole number that is not below 0; 0 for anything else.
local function number(text)
  local found = text and #text <= 15 and string.match(text, '^%d+$') and tonumber(text)
  return found or 0
end

-- An argument's place in the order of pushing, from 0.
local function index_of(entry)
  return number(entry[2][4])
end
