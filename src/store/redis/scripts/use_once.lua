-- ARGV: token, until. Returns whether it had not been used.
return redis.call('ZADD', key('used_tokens'), 'NX', ARGV[2], ARGV[1])
