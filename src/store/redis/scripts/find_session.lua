-- ARGV: access
local id = redis.call('GET', key('access:', ARGV[1]))
local row = id and session_fields(id, CHECKED)
if row and not row[#CHECKED] then
    return row
end
return false
