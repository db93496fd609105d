-- ARGV: account, before, limit
local sessions = key('sessions:', ARGV[1])
local before = ARGV[2] ~= '' and redis.call('ZSCORE', sessions, ARGV[2])
local highest = before and ('(' .. before) or '+inf'
local rows = {}
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', sessions, highest, '-inf', 'LIMIT', 0, ARGV[3])) do
    local row = session_row(id)
    if row then
        rows[#rows + 1] = row
    end
end
return rows
