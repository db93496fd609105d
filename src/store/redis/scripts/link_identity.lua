-- ARGV: identity, account, fields …
local identity, account = ARGV[1], ARGV[2]
unlink(identity)
set_pairs(key('identity:', identity), 3)
redis.call('ZADD', key('identities:', account), 0, identity)
return 1
