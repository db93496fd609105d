-- ARGV: id, at, edge, and the arguments of the edge. The conditions are those of `AuthorizationRequest::allows`.
local refused = replica_error(ARGV[3] == 'approve' or ARGV[3] == 'renew')
if refused then
    return refused
end
local id, at, edge = ARGV[1], ARGV[2], ARGV[3]
local hash = key('req:', id)
local kept = redis.call('HMGET', hash, 'state', 'expires_at', 'account_id', 'source', 'requested', 'flow')
local state, expires_at, account, source, requested, flow = unpack(kept, 1, 6)
if not state or has_passed(expires_at, at) then
    return 0
end

local function is_grantable(scopes)
    if scopes == '' then
        return false
    end
    for scope in string.gmatch(scopes, '%S+') do
        if not string.find(' ' .. requested .. ' ', ' ' .. scope .. ' ', 1, true) then
            return false
        end
    end
    return true
end

local function leave_approved(next)
    redis.call('HSET', hash, 'state', next)
    redis.call('HDEL', hash, 'granted')
    redis.call('SREM', key('approved:', account), id)
end

if edge == 'open' then
    if state ~= 'pending' or (account and account ~= ARGV[4]) then
        return 0
    end
    redis.call('HSET', hash, 'account_id', ARGV[4], 'account_label', ARGV[5], 'flow', ARGV[6])
    redis.call('ZADD', key('requests:', ARGV[4]), 0, id)
    redis.call('ZREM', key('unopened'), id)
elseif edge == 'release' then
    if state ~= 'pending' or account ~= ARGV[4] or flow ~= ARGV[5] then
        return 0
    end
    redis.call('HDEL', hash, 'account_id', 'account_label')
    redis.call('ZREM', key('requests:', account), id)
    redis.call('ZADD', key('unopened'), expires_at, id)
    redis.call('HSET', hash, 'flow', ARGV[6])
elseif edge == 'approve' then
    local granted, approved_flow, until_then, lasting = unpack(ARGV, 5, 8)
    local lookups = lookups_at(9)
    if state ~= 'pending' or account ~= ARGV[4] or not is_grantable(granted) then
        return 0
    end
    if are_taken(lookups) then
        return conflict()
    end
    redis.call('HSET', hash, 'state', 'approved', 'granted', granted, 'flow', approved_flow, 'expires_at', until_then)
    if lasting ~= '' then
        redis.call('HSET', hash, 'lasting', lasting)
    end
    add_lookups(id, lookups)
    settle(id, source)
    redis.call('ZADD', key('reqs'), until_then, id)
    redis.call('SADD', key('approved:', account), id)
elseif edge == 'deny' then
    if state ~= 'pending' or account ~= ARGV[4] then
        return 0
    end
    redis.call('HSET', hash, 'state', 'denied')
    settle(id, source)
elseif edge == 'failed_attempt' then
    if state ~= 'pending' and state ~= 'approved' then
        return 0
    end
    if redis.call('HINCRBY', hash, 'failed_attempts', 1) >= tonumber(ARGV[4]) then
        if state == 'approved' then
            leave_approved('locked')
        else
            redis.call('HSET', hash, 'state', 'locked')
            settle(id, source)
        end
    end
elseif state ~= 'approved' then
    return 0
elseif edge == 'renew' then
    local lookups = lookups_at(7)
    if flow ~= ARGV[4] then
        return 0
    end
    if are_taken(lookups) then
        return conflict()
    end
    redis.call('HSET', hash, 'flow', ARGV[5], 'expires_at', ARGV[6])
    redis.call('ZADD', key('reqs'), ARGV[6], id)
    add_lookups(id, lookups)
elseif edge == 'revoke' then
    leave_approved('revoked')
end
return 1
