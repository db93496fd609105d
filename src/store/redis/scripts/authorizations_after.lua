-- ARGV: after, limit. After each authorization request come its position, which is its rank, and its lookups.
local rows = {}
local after = tonumber(ARGV[1])
for rank, id in ipairs(redis.call('ZRANGE', key('reqs'), after, after + tonumber(ARGV[2]) - 1)) do
    local row = redis.call('HMGET', key('req:', id), unpack(AUTHORIZATION))
    row[#AUTHORIZATION + 1] = string.format('%d', after + rank)
    for index, lookup in ipairs(redis.call('SMEMBERS', key('lookups:', id))) do
        row[#AUTHORIZATION + 1 + index] = lookup
    end
    rows[#rows + 1] = row
end
return rows
