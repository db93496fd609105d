-- ARGV: id, source, created_at, expires_at, cap of the source, total cap, lookups, fields …
local id, source, now, expires_at = unpack(ARGV, 1, 4)
local lookups, fields = lookups_at(7)
if redis.call('EXISTS', key('req:', id)) == 1 or are_taken(lookups) then
    return 'conflict'
end
local function is_full(pending, cap)
    return cap ~= '' and redis.call('ZCOUNT', pending, '(' .. now, '+inf') >= tonumber(cap)
end
if source ~= '' and is_full(key('pending:', source), ARGV[5]) then
    return 'source_full'
end
if is_full(key('pending'), ARGV[6]) then
    return 'full'
end
insert_authorization(id, lookups, expires_at, fields)
keep_pending(id, source, expires_at)
return 'created'
