-- ARGV: id, claim, source, created_at, expires_at, cap of the source, cap in all, forget before, how many, fields …
local id, claim, source, now, expires_at = unpack(ARGV, 1, 5)
if redis.call('EXISTS', key('reg:', id)) == 1 then
    return 'conflict'
end
if claim ~= '' and redis.call('EXISTS', key('claim:', claim)) == 1 then
    return 'conflict'
end
local function is_full(pending, cap)
    return cap ~= '' and redis.call('ZCOUNT', pending, '(' .. now, '+inf') >= tonumber(cap)
end
if source ~= '' and is_full(key('pending:', source), ARGV[6]) then
    return 'source_full'
end
if is_full(key('pending'), ARGV[7]) then
    return 'full'
end
keep_authorization(id, claim, expires_at, 10)
redis.call('ZADD', key('pending'), expires_at, id)
if source ~= '' then
    redis.call('ZADD', key('pending:', source), expires_at, id)
end
forget_authorizations(ARGV[8], ARGV[9])
return 'created'
