-- ARGV: token
return redis.call('ZSCORE', key('used_tokens'), ARGV[1]) and 1 or 0
