-- ARGV: session. Returns the digest, generation and end of each refresh token, the used ones first.
local id = ARGV[1]
local tokens = {}

local function add(digest)
    local owner, generation, ends_at = refresh_token(digest)
    if owner == id then
        tokens[#tokens + 1] = {digest, generation, ends_at}
    end
end

for _, digest in ipairs(redis.call('SMEMBERS', key('used:', id))) do
    add(digest)
end
add(redis.call('HGET', key('ses:', id), 'refresh') or '')
table.sort(tokens, function(one, other)
    return tonumber(one[2]) < tonumber(other[2])
end)
return tokens
