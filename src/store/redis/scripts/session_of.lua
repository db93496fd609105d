-- ARGV: authorization request
local id = redis.call('GET', key('redeemed:', ARGV[1]))
return id and session_row(id)
