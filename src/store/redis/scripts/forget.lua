-- ARGV: authorization requests before, sessions before, limit
local before, limit = ARGV[2], tonumber(ARGV[3])

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
