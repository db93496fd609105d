-- ARGV: id, account, authorization request, access, refreshed_at, salt, end of the session, number of refresh tokens,
-- then the digest, generation and end of each, the current one last, then fields …
local id, account, authorization, access, refreshed_at, salt, session_end, count = unpack(ARGV, 1, 8)
if redis.call('EXISTS', key('ses:', id)) == 1 then
    return 0
end
local fields = 9 + 3 * tonumber(count)
if redis.call('EXISTS', key('access:', access)) == 1 then
    return conflict()
end
for index = 9, fields - 1, 3 do
    if redis.call('EXISTS', key('refresh:', ARGV[index])) == 1 then
        return conflict()
    end
end
local hash = key('ses:', id)
for index = 9, fields - 1, 3 do
    local digest, generation, ends_at = unpack(ARGV, index, index + 2)
    redis.call('SET', key('refresh:', digest), id .. ' ' .. generation .. ' ' .. ends_at)
    if index + 3 < fields then
        redis.call('ZADD', key('used'), ends_at, digest)
        redis.call('SADD', key('used:', id), digest)
    else
        redis.call('HSET', hash, 'refresh', digest, 'generation', generation)
    end
end
if salt ~= '' then
    redis.call('HSET', hash, 'refreshed_at', refreshed_at, 'refresh_salt', salt)
end
insert_session(id, account, authorization, access, session_end, fields)
return 1
