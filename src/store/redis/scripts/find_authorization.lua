-- ARGV: claim
local id = redis.call('GET', key('claim:', ARGV[1]))
return id and redis.call('HMGET', key('reg:', id), unpack(REGISTRATION))
