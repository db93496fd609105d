-- ARGV: after, limit. After each session come its last refresh and its position.
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('all'), '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])) do
    local row = session_row(id)
    if row then
        local last = redis.call('HMGET', key('ses:', id), 'refreshed_at', 'refresh_salt')
        row[#SESSION + 1] = last[1]
        row[#SESSION + 2] = last[2]
        row[#SESSION + 3] = redis.call('ZSCORE', key('all'), id)
        rows[#rows + 1] = row
    end
end
return rows
