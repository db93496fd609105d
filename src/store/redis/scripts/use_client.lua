-- ARGV: client, at
local id, at = ARGV[1], ARGV[2]
local kept = redis.call('HMGET', key('client:', id), 'id', 'used_at')
if not kept[1] then
    return 0
end
if not kept[2] or tonumber(kept[2]) < tonumber(at) then
    redis.call('HSET', key('client:', id), 'used_at', at)
    redis.call('ZREM', key('unused_clients'), id)
    redis.call('ZADD', key('used_clients'), at, id)
end
return 1
