-- ARGV: authorization request, at, session, account, access, refresh, end of the refresh token, end of the session, fields …
local authorization, at, id, account, access, refresh, refresh_end, session_end = unpack(ARGV, 1, 8)
local hash = key('reg:', authorization)
local kept = redis.call('HMGET', hash, 'state', 'expires_at', 'account_id')
if kept[1] ~= 'approved' or has_passed(kept[2], at) then
    return 'no'
end
-- Revoking the account would not find it.
if redis.call('SISMEMBER', key('approved:', kept[3]), authorization) == 0 then
    return 'no'
end
for _, taken in ipairs({
    key('ses:', id), key('access:', access), key('refresh:', refresh), key('redeemed:', authorization),
}) do
    if redis.call('EXISTS', taken) == 1 then
        return 'conflict'
    end
end
redis.call('HSET', hash, 'state', 'exchanged')
redis.call('SREM', key('approved:', kept[3]), authorization)
redis.call('HSET', key('ses:', id), 'refresh', refresh, 'generation', 0)
redis.call('SET', key('access:', access), id)
redis.call('SET', key('refresh:', refresh), id .. ' 0 ' .. refresh_end)
redis.call('SET', key('redeemed:', authorization), id)
keep_session(id, account, session_end, 9)
return 'yes'
