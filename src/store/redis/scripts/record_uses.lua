-- ARGV: the latest date that is not wrong, id, at, address, id, at, address …
for index = 2, #ARGV, 3 do
    local hash, at, address = key('ses:', ARGV[index]), ARGV[index + 1], ARGV[index + 2]
    local kept = redis.call('HMGET', hash, 'id', 'last_use_at')
    local old = kept[2] and tonumber(kept[2])
    if kept[1] and (not old or old < tonumber(at) or old > tonumber(ARGV[1])) then
        redis.call('HSET', hash, 'last_use_at', at)
        if address ~= '' then
            redis.call('HSET', hash, 'last_use_address', address)
        else
            redis.call('HDEL', hash, 'last_use_address')
        end
    end
end
return 1
