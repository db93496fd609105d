-- ARGV: account, after, limit. By id.
local rows = {}
local first = ARGV[2] ~= '' and ('(' .. ARGV[2]) or '-'
for _, id in ipairs(redis.call('ZRANGEBYLEX', key('requests:', ARGV[1]), first, '+', 'LIMIT', 0, ARGV[3])) do
    local row = redis.call('HMGET', key('req:', id), unpack(AUTHORIZATION))
    if row[1] then
        rows[#rows + 1] = row
    end
end
return rows
