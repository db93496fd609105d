-- ARGV: id, at, address, id, at, address …
for index = 1, #ARGV, 3 do
    local hash, at, address = key('ses:', ARGV[index]), ARGV[index + 1], ARGV[index + 2]
    local kept = redis.call('HMGET', hash, 'id', 'last_use_at')
    if kept[1] and (not kept[2] or tonumber(kept[2]) < tonumber(at)) then
        redis.call('HSET', hash, 'last_use_at', at)
        if address ~= '' then
            redis.call('HSET', hash, 'last_use_address', address)
        else
            redis.call('HDEL', hash, 'last_use_address')
        end
    end
end
return 1
