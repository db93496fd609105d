-- ARGV: id
return redis.call('HMGET', key('req:', ARGV[1]), unpack(AUTHORIZATION))
