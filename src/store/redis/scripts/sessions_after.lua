-- ARGV: after, limit. Behind each session stand its last refresh, its access token and its place.
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('all'), '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])) do
    local row = session_row(id)
    if row then
        local last = redis.call('HMGET', key('ses:', id), 'refreshed_at', 'refresh_salt', 'access')
        for index = 1, 3 do
            row[#SESSION + index] = last[index]
        end
        row[#SESSION + 4] = redis.call('ZSCORE', key('all'), id)
        rows[#rows + 1] = row
    end
end
return rows
