-- ARGV: client, created_at, used_at, cap of those that have never been used, fields …
local id, created_at, used_at, cap = unpack(ARGV, 1, 4)
if redis.call('EXISTS', key('client:', id)) == 1 then
    return 'conflict'
end
if used_at ~= '' then
    redis.call('ZADD', key('used_clients'), used_at, id)
elseif cap ~= '' and redis.call('ZCARD', key('unused_clients')) >= tonumber(cap) then
    return 'full'
else
    redis.call('ZADD', key('unused_clients'), created_at, id)
end
set_pairs(key('client:', id), 5)
return 'created'
