-- ARGV: access
local id = redis.call('GET', key('access:', ARGV[1]))
local row = id and session_fields(id, CHECKED)
if row and not row[REVOKED] then
    return row
end
return false
