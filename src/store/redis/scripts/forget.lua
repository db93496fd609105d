-- ARGV: authorization requests before, sessions before, limit
local before, limit = ARGV[2], tonumber(ARGV[3])

local function forget_session(id)
    local hash = key('ses:', id)
    local kept = redis.call('HMGET', hash, 'access', 'refresh', 'request', 'account_id')
    if kept[1] then
        redis.call('DEL', hash, key('access:', kept[1]), key('refresh:', kept[2]))
        redis.call('ZREM', key('redeemed:', kept[3]), id)
        redis.call('ZREM', key('sessions:', kept[4]), id)
    end
    redis.call('ZREM', key('all'), id)
    redis.call('ZREM', key('ends'), id)
end

local authorizations = forget_authorizations(ARGV[1], limit)
local sessions = redis.call('ZRANGEBYSCORE', key('ends'), '-inf', before, 'LIMIT', 0, limit)
for _, id in ipairs(sessions) do
    forget_session(id)
end
local used = redis.call('ZRANGEBYSCORE', key('used'), '-inf', before, 'LIMIT', 0, limit)
for _, digest in ipairs(used) do
    local id = refresh_token(digest)
    if id then
        redis.call('SREM', key('used:', id), digest)
    end
    redis.call('DEL', key('refresh:', digest))
    redis.call('ZREM', key('used'), digest)
end
return (authorizations >= limit or #sessions >= limit or #used >= limit) and 1 or 0
