-- ARGV: session, account, name
local row = session_row(ARGV[1])
if not row or row[ACCOUNT] ~= ARGV[2] then
    return 0
end
if ARGV[3] ~= '' then
    redis.call('HSET', key('ses:', ARGV[1]), 'name', ARGV[3])
else
    redis.call('HDEL', key('ses:', ARGV[1]), 'name')
end
return 1
