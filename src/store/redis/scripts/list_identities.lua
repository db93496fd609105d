-- ARGV: account, after, limit. In the order of the keys.
local rows = {}
local first = ARGV[2] ~= '' and ('(' .. ARGV[2]) or '-'
for _, identity in ipairs(redis.call('ZRANGEBYLEX', key('identities:', ARGV[1]), first, '+', 'LIMIT', 0, ARGV[3])) do
    local row = redis.call('HMGET', key('identity:', identity), 'account_id', 'account_label', 'linked_at')
    if row[1] == ARGV[1] then
        row[4] = identity
        rows[#rows + 1] = row
    end
end
return rows
