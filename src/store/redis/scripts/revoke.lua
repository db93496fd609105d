-- ARGV: at, by, kind of target, target
local at, by, kind = ARGV[1], ARGV[2], ARGV[3]
local ended = {}

local function revoke_session(id)
    local hash = key('ses:', id)
    local kept = redis.call('HMGET', hash, 'id', 'revoked_at')
    if kept[1] and not kept[2] then
        redis.call('HSET', hash, 'revoked_at', at, 'revoked_by', by)
        ended[#ended + 1] = id
    end
end

local function revoke_authorization(id)
    local hash = key('req:', id)
    local kept = redis.call('HMGET', hash, 'state', 'expires_at')
    if kept[1] == 'approved' and not has_passed(kept[2], at) then
        redis.call('HSET', hash, 'state', 'revoked')
        redis.call('HDEL', hash, 'granted')
    end
end

if kind == 'access' then
    local id = redis.call('GET', key('access:', ARGV[4]))
    if id then
        revoke_session(id)
    end
elseif kind == 'refresh' then
    local id = refresh_token(ARGV[4])
    if id then
        revoke_session(id)
    end
elseif kind == 'session' then
    if redis.call('HGET', key('ses:', ARGV[4]), 'account_id') == ARGV[5] then
        revoke_session(ARGV[4])
    end
elseif kind == 'account' then
    local approved = key('approved:', ARGV[4])
    for _, id in ipairs(redis.call('SMEMBERS', approved)) do
        revoke_authorization(id)
    end
    redis.call('DEL', approved)
    for _, id in ipairs(redis.call('ZRANGE', key('sessions:', ARGV[4]), 0, -1)) do
        revoke_session(id)
    end
end
if #ended > 0 then
    -- Without the right to publish, other processes learn of it when their cache entries expire.
    redis.pcall('PUBLISH', key('ended'), table.concat(ended, ' '))
end
return ended
