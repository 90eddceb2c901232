-- Dead letters, the latest first: of each no more than fits a page, whatever was written.
-- KEYS dead letters   ARGV how many, most bytes of an argument, most bytes of a tail
-- returns {argument, its whole length, error, tail, tries, when} each
local found = {}
for _, letter in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])) do
  local field = {}
  for i = 1, #letter[2], 2 do field[letter[2][i]] = letter[2][i + 1] end
  local argument = field['argument'] or ''
  found[#found + 1] = {
    string.sub(argument, 1, ARGV[2]), #argument, string.sub(field['error'] or '?', 1, MOST_WORDS),
    string.sub(field['tail'] or '', -ARGV[3]), number(field['tries']), number(field['at'])
  }
end
return found
