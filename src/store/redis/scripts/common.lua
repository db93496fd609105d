-- Prepended to every script. All keys begin with KEYS[1], which contains the hash tag, so they are in one slot.
--
--   req:ID           hash    an authorization request, by the names of its columns
--   lookup:DIGEST    string  the id of the authorization request with this lookup
--   lookups:ID       set     the lookups of one authorization request
--   reqs             zset    all authorization requests by expiry
--   pending          zset    the undecided ones by expiry; pending:NETWORK has those of one network
--   unopened         zset    those of them that no human has opened
--   requests:ACCOUNT zset    those that are bound to the account, all with the score 0, so that they are in the order of ids
--   approved:ACCOUNT set     those that the account approved and that can still be redeemed
--   ses:ID           hash    a session, by the names of its columns, with its digests and its generation
--   access:DIGEST    string  the id of the session with this access token
--   refresh:DIGEST   string  a refresh token of any generation: session id, generation, end
--   redeemed:REQ     zset    the sessions of an authorization request in creation order
--   sessions:ACCOUNT zset    the sessions of an account in creation order
--   all              zset    all sessions in creation order
--   ends             zset    all sessions by their end
--   used             zset    all used refresh tokens by their original end
--   used:ID          set     those of one session
--   client:ID        hash    a client that registered itself, by the names of its columns
--   unused_clients   zset    those that have never been used by registration
--   used_clients     zset    the others by their last use
--   identity:KEY     hash    the account that an identity of another issuer is linked to, by the names of its columns
--   identities:ACCOUNT zset  the identities that are linked to the account, all with the score 0
--   used_tokens      zset    tokens of other issuers that were used, by the instant until which they are remembered
--   seq              string  the counter of sessions
--   version          string  the version of the key layout: 2
--   regs             string  'moved', after a migration from version 1, which kept a zset here; its nodes then fail
--   nothing          –       never stored; see `replica_error`
--
-- A lost key makes a session invalid, never valid. A session that is not in its account's list is invalid, because
-- revoking the account would not find it.

local function key(...)
    return KEYS[1] .. table.concat({...})
end

local function conflict()
    return redis.error_reply('CONFLICT it is taken')
end

-- Returns an error on a replica, which may not know the newest sessions and revocations. A replica refuses every write,
-- even one that changes nothing, as both of these. Without the right to them nobody knows, so that is an error too. Other
-- errors of it don't matter here.
--
-- Redis checks its memory limit at the first write of a script only, and only for commands such as `SETRANGE`. What takes
-- access away must work when memory is full, so its first write is `DEL`.
local function replica_error(may_grow)
    local refused
    if may_grow then
        refused = redis.pcall('SETRANGE', key('nothing'), 0, '')
    else
        refused = redis.pcall('DEL', key('nothing'))
    end
    local text = type(refused) == 'table' and refused.err or ''
    if string.find(text, 'READONLY', 1, true) or string.find(text, 'stale replica', 1, true) then
        return redis.error_reply('READONLY this server is a replica')
    end
    -- Redis 6 and 7.0 say it in the second way, later versions in the third.
    for _, denied in ipairs({'NOPERM', 'user executing the script', 'ACL failure'}) do
        if string.find(text, denied, 1, true) then
            return redis.error_reply('NOPERM ' .. text)
        end
    end
    -- The first write of the script itself may be one that is allowed when memory is full, and all after it would be too.
    if may_grow and string.find(text, 'OOM', 1, true) then
        return refused
    end
end

local function has_passed(instant, now)
    return tonumber(instant) <= tonumber(now)
end

-- Sets the fields that have a value: name, value, name, value …
local function set_pairs(hash, from)
    for index = from, #ARGV, 2 do
        redis.call('HSET', hash, ARGV[index], ARGV[index + 1])
    end
end

-- Returns the named fields of a session. The names must start with those of SESSION.
local function session_fields(id, names)
    local row = redis.call('HMGET', key('ses:', id), unpack(names))
    if row[1] and redis.call('ZSCORE', key('sessions:', row[ACCOUNT]), id) then
        return row
    end
    return false
end

local function session_row(id)
    return session_fields(id, SESSION)
end

-- Returns the session, the generation and the end of a refresh token.
local function refresh_token(digest)
    local known = redis.call('GET', key('refresh:', digest))
    if not known then
        return nil
    end
    return string.match(known, '^(%S+) (%d+) (-?%d+)$')
end

-- Stores a session as the newest of its account. Its fields are in ARGV from `from` on.
local function insert_session(id, account, authorization, access, session_end, from)
    local place = redis.call('INCR', key('seq'))
    set_pairs(key('ses:', id), from)
    redis.call('SET', key('access:', access), id)
    redis.call('ZADD', key('redeemed:', authorization), place, id)
    redis.call('ZADD', key('sessions:', account), place, id)
    redis.call('ZADD', key('all'), place, id)
    redis.call('ZADD', key('ends'), session_end, id)
end

-- Returns the lookups in ARGV after their count at `index`, and the index of the next argument.
local function lookups_at(index)
    local last = index + tonumber(ARGV[index])
    return {unpack(ARGV, index + 1, last)}, last + 1
end

local function are_taken(lookups)
    for _, lookup in ipairs(lookups) do
        if redis.call('EXISTS', key('lookup:', lookup)) == 1 then
            return true
        end
    end
    return false
end

local function add_lookups(id, lookups)
    for _, lookup in ipairs(lookups) do
        redis.call('SET', key('lookup:', lookup), id)
        redis.call('SADD', key('lookups:', id), lookup)
    end
end

-- Stores an authorization request, pending or not. Its fields are in ARGV from `from` on.
local function insert_authorization(id, lookups, expires_at, from)
    set_pairs(key('req:', id), from)
    add_lookups(id, lookups)
    redis.call('ZADD', key('reqs'), expires_at, id)
end

-- Returns the networks that a source counts in: itself, and of an IPv6 /64 also the /56 and the /48, by their first
-- hexadecimal digits.
local function networks_of(source)
    if not source or source == '' then
        return {}
    end
    if #source == 19 and string.sub(source, 1, 3) == 'v6 ' then
        return {source, string.sub(source, 1, 17), string.sub(source, 1, 15)}
    end
    return {source}
end

-- Adds an authorization request to the pending ones.
local function keep_pending(id, source, expires_at, is_unopened)
    redis.call('ZADD', key('pending'), expires_at, id)
    if is_unopened then
        redis.call('ZADD', key('unopened'), expires_at, id)
    end
    for _, network in ipairs(networks_of(source)) do
        redis.call('ZADD', key('pending:', network), expires_at, id)
    end
end

-- Removes an authorization request from the pending ones.
local function settle(id, source)
    redis.call('ZREM', key('pending'), id)
    redis.call('ZREM', key('unopened'), id)
    for _, network in ipairs(networks_of(source)) do
        redis.call('ZREM', key('pending:', network), id)
    end
end

local function forget_session(id)
    local hash = key('ses:', id)
    local kept = redis.call('HMGET', hash, 'access', 'refresh', 'request', 'account_id')
    if kept[1] then
        redis.call('DEL', hash, key('access:', kept[1]), key('refresh:', kept[2]))
        redis.call('ZREM', key('redeemed:', kept[3]), id)
        redis.call('ZREM', key('sessions:', kept[4]), id)
    end
    redis.call('ZREM', key('all'), id)
    redis.call('ZREM', key('ends'), id)
end

local function forget_authorization(id)
    local kept = redis.call('HMGET', key('req:', id), 'source', 'account_id')
    settle(id, kept[1])
    if kept[2] then
        redis.call('SREM', key('approved:', kept[2]), id)
        redis.call('ZREM', key('requests:', kept[2]), id)
    end
    for _, lookup in ipairs(redis.call('SMEMBERS', key('lookups:', id))) do
        redis.call('DEL', key('lookup:', lookup))
    end
    redis.call('ZREM', key('reqs'), id)
    redis.call('DEL', key('req:', id), key('lookups:', id))
end

local function forget_authorizations(before, limit)
    local over = redis.call('ZRANGEBYSCORE', key('reqs'), '-inf', before, 'LIMIT', 0, limit)
    for _, id in ipairs(over) do
        forget_authorization(id)
    end
    return #over
end

-- Returns the account that an identity is linked to. A link that is not in its account's list is invalid, because
-- forgetting the account would not find it.
local function identity_row(identity)
    local row = redis.call('HMGET', key('identity:', identity), unpack(IDENTITY))
    if row[1] and redis.call('ZSCORE', key('identities:', row[1]), identity) then
        return row
    end
    return false
end

local function unlink(identity)
    local account = redis.call('HGET', key('identity:', identity), 'account_id')
    if account then
        redis.call('ZREM', key('identities:', account), identity)
        redis.call('DEL', key('identity:', identity))
    end
end
