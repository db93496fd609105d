-- ARGV: id, claim, source, expires_at, account, state, fields …
local id, claim, source, expires_at, account, state = unpack(ARGV, 1, 6)
if redis.call('EXISTS', key('reg:', id)) == 1 then
    return 'no'
end
if claim ~= '' and redis.call('EXISTS', key('claim:', claim)) == 1 then
    return 'conflict'
end
keep_authorization(id, claim, expires_at, 7)
if state == 'pending' then
    redis.call('ZADD', key('pending'), expires_at, id)
    if source ~= '' then
        redis.call('ZADD', key('pending:', source), expires_at, id)
    end
elseif state == 'approved' then
    redis.call('SADD', key('approved:', account), id)
end
return 'yes'
