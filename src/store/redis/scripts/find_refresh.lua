-- ARGV: refresh
local id, generation = refresh_token(ARGV[1])
local row = id and session_row(id)
if not row then
    return false
end
local last = redis.call('HMGET', key('ses:', id), 'generation', 'refreshed_at', 'refresh_salt')
row[#SESSION + 1] = string.format('%d', tonumber(last[1]) - tonumber(generation))
row[#SESSION + 2] = last[2]
row[#SESSION + 3] = last[3]
return row
