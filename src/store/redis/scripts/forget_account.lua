-- ARGV: account, limit. Returns whether there may be more, and the deleted sessions.
local account, limit = ARGV[1], tonumber(ARGV[2])
local requests = redis.call('ZRANGE', key('requests:', account), 0, limit - 1)
for _, id in ipairs(requests) do
    forget_authorization(id)
    redis.call('ZREM', key('requests:', account), id)
end
-- Those that were opened before there was a list of an account's requests.
for _, id in ipairs(redis.call('SMEMBERS', key('approved:', account))) do
    forget_authorization(id)
end
redis.call('DEL', key('approved:', account))
local ended = redis.call('ZRANGE', key('sessions:', account), 0, limit - 1)
for _, id in ipairs(ended) do
    for _, digest in ipairs(redis.call('SMEMBERS', key('used:', id))) do
        redis.call('DEL', key('refresh:', digest))
        redis.call('ZREM', key('used'), digest)
    end
    redis.call('DEL', key('used:', id))
    forget_session(id)
    redis.call('ZREM', key('sessions:', account), id)
end
if #ended > 0 then
    redis.pcall('PUBLISH', key('ended'), table.concat(ended, ' '))
end
return {(#requests >= limit or #ended >= limit) and 1 or 0, ended}
