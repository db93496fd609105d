-- ARGV: account, limit. Returns whether there may be more.
local account, limit = ARGV[1], tonumber(ARGV[2])
local linked = redis.call('ZRANGE', key('identities:', account), 0, limit - 1)
for _, identity in ipairs(linked) do
    unlink(identity)
    redis.call('ZREM', key('identities:', account), identity)
end
return #linked >= limit and 1 or 0
