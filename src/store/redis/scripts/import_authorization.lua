-- ARGV: id, source, expires_at, account, state, lookups, fields …
local id, source, expires_at, account, state = unpack(ARGV, 1, 5)
local lookups, fields = lookups_at(6)
if redis.call('EXISTS', key('req:', id)) == 1 then
    return 0
end
if are_taken(lookups) then
    return conflict()
end
insert_authorization(id, lookups, expires_at, fields)
if account ~= '' then
    redis.call('ZADD', key('requests:', account), 0, id)
end
if state == 'pending' then
    keep_pending(id, source, expires_at, account == '')
elseif state == 'approved' then
    redis.call('SADD', key('approved:', account), id)
end
return 1
