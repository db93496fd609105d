-- ARGV: registered before, last used before, limit
local limit = tonumber(ARGV[3])

local function forget(list, before)
    local over = redis.call('ZRANGEBYSCORE', list, '-inf', before, 'LIMIT', 0, limit)
    for _, id in ipairs(over) do
        redis.call('DEL', key('client:', id))
        redis.call('ZREM', list, id)
    end
    return #over >= limit
end

local unused, used = forget(key('unused_clients'), ARGV[1]), forget(key('used_clients'), ARGV[2])
return (unused or used) and 1 or 0
