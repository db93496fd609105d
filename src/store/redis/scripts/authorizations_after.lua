-- ARGV: after, limit. The place of an authorization request is its rank.
local rows = {}
local after = tonumber(ARGV[1])
for rank, id in ipairs(redis.call('ZRANGE', key('regs'), after, after + tonumber(ARGV[2]) - 1)) do
    local row = redis.call('HMGET', key('reg:', id), unpack(REGISTRATION))
    row[#REGISTRATION + 1] = string.format('%d', after + rank)
    rows[#rows + 1] = row
end
return rows
