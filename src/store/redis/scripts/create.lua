-- ARGV: id, source, created_at, expires_at, caps of the source's networks, total cap, how many may give way, lookups,
-- fields …
local id, source, now, expires_at = unpack(ARGV, 1, 4)
local total, displaced_at_once = tonumber(ARGV[6]), tonumber(ARGV[7])
local lookups, fields = lookups_at(8)
if redis.call('EXISTS', key('req:', id)) == 1 or are_taken(lookups) then
    return {'conflict'}
end
local function count(pending)
    return redis.call('ZCOUNT', pending, '(' .. now, '+inf')
end
local networks, place = networks_of(source), 0
for cap in string.gmatch(ARGV[5], '%d+') do
    place = place + 1
    if count(key('pending:', networks[place])) >= tonumber(cap) then
        return {'source_full'}
    end
end
local answer = {'created'}
if total then
    local excess = count(key('pending')) + 1 - total
    while excess > 0 and #answer <= displaced_at_once do
        local oldest = redis.call('ZRANGEBYSCORE', key('unopened'), '(' .. now, '+inf', 'LIMIT', 0, 1)[1]
        if not oldest then
            break
        end
        local known = redis.call('HMGET', key('req:', oldest), 'state', 'account_id', 'source')
        if known[1] == 'pending' and not known[2] then
            settle(oldest, known[3])
            redis.call('HSET', key('req:', oldest), 'expires_at', now)
            redis.call('ZADD', key('reqs'), now, oldest)
            answer[#answer + 1] = oldest
            excess = excess - 1
        else
            -- A node of an earlier version opened it.
            redis.call('ZREM', key('unopened'), oldest)
        end
    end
    if excess > 0 and #answer == 1 then
        return {'full'}
    end
end
insert_authorization(id, lookups, expires_at, fields)
keep_pending(id, source, expires_at, true)
return answer
