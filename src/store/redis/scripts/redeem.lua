-- ARGV: authorization request, at, once or again, session, account, access, refresh, end of the refresh token, end of the
-- session, fields …
local authorization, at, redemption, id, account, access, refresh, refresh_end, session_end = unpack(ARGV, 1, 9)
local hash = key('req:', authorization)
local kept = redis.call('HMGET', hash, 'state', 'expires_at', 'account_id')
if kept[1] ~= 'approved' or has_passed(kept[2], at) then
    return 0
end
-- Without this entry, revoking the account would not find the request.
if redis.call('SISMEMBER', key('approved:', kept[3]), authorization) == 0 then
    return 0
end
if redis.call('EXISTS', key('ses:', id), key('access:', access), key('refresh:', refresh)) > 0 then
    return conflict()
end
if redemption == 'once' then
    redis.call('HSET', hash, 'state', 'redeemed')
    redis.call('SREM', key('approved:', kept[3]), authorization)
end
redis.call('HSET', key('ses:', id), 'refresh', refresh, 'generation', 0)
redis.call('SET', key('refresh:', refresh), id .. ' 0 ' .. refresh_end)
insert_session(id, account, authorization, access, session_end, 10)
return 1
