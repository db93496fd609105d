-- ARGV: from, at, access, refresh, scopes, expires_at, refresh_expires_at, salt, end of the session
local from, at, access, refresh, scopes, expires_at, refresh_expires_at, salt, session_end = unpack(ARGV, 1, 9)
local id, generation, ends_at = refresh_token(from)
local row = id and session_row(id)
if not row or row[REVOKED] then
    return false
end
local hash = key('ses:', id)
local kept = redis.call('HMGET', hash, 'generation', 'refresh_expires_at', 'access')
if kept[1] ~= generation or has_passed(kept[2], at) then
    return false
end
if redis.call('EXISTS', key('access:', access)) == 1 or redis.call('EXISTS', key('refresh:', refresh)) == 1 then
    return conflict()
end
local next = string.format('%d', tonumber(generation) + 1)
redis.call('HSET', hash, 'access', access, 'refresh', refresh, 'generation', next, 'scopes', scopes,
    'expires_at', expires_at, 'refresh_expires_at', refresh_expires_at, 'refreshed_at', at, 'refresh_salt', salt)
redis.call('DEL', key('access:', kept[3]))
redis.call('SET', key('access:', access), id)
redis.call('SET', key('refresh:', refresh), id .. ' ' .. next .. ' ' .. refresh_expires_at)
redis.call('ZADD', key('used'), ends_at, from)
redis.call('SADD', key('used:', id), from)
redis.call('ZADD', key('ends'), session_end, id)
return id
