-- ARGV: account, at. In no order.
local rows = {}
for _, id in ipairs(redis.call('SMEMBERS', key('approved:', ARGV[1]))) do
    local hash = key('req:', id)
    local kept = redis.call('HMGET', hash, 'state', 'expires_at')
    if kept[1] == 'approved' and not has_passed(kept[2], ARGV[2]) then
        rows[#rows + 1] = redis.call('HMGET', hash, unpack(AUTHORIZATION))
    end
end
return rows
