-- ARGV: remembered until, limit. Returns whether there may be more.
local limit = tonumber(ARGV[2])
local over = redis.call('ZRANGEBYSCORE', key('used_tokens'), '-inf', ARGV[1], 'LIMIT', 0, limit)
for _, token in ipairs(over) do
    redis.call('ZREM', key('used_tokens'), token)
end
return #over >= limit and 1 or 0
