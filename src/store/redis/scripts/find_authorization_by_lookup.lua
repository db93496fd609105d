-- ARGV: lookup
local id = redis.call('GET', key('lookup:', ARGV[1]))
return id and redis.call('HMGET', key('req:', id), unpack(AUTHORIZATION))
