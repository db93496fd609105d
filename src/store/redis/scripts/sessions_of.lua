-- ARGV: authorization request. Newest first.
local rows = {}
for _, id in ipairs(redis.call('ZREVRANGE', key('redeemed:', ARGV[1]), 0, -1)) do
    local row = session_row(id)
    if row then
        rows[#rows + 1] = row
    end
end
return rows
