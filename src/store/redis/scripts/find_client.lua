-- ARGV: client
return redis.call('HMGET', key('client:', ARGV[1]), unpack(CLIENT))
