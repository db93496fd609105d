-- Before every script. All keys begin with KEYS[1], which holds the hash tag: they are in one slot.
--
--   reg:ID           hash    an authorization request, by the names of its columns
--   claim:DIGEST     string  its id
--   regs             zset    all of them by the instant at which they expire
--   pending          zset    the undecided ones by the same, and pending:SOURCE those of one source
--   approved:ACCOUNT set     those that the account approved and that are not redeemed
--   ses:ID           hash    a session, by the names of its columns, with its digests and its generation
--   access:DIGEST    string  the id of the session of which this is the access token
--   refresh:DIGEST   string  the same of a refresh token of any generation: id, generation, end
--   redeemed:REG     string  the session that an authorization request became
--   sessions:ACCOUNT zset    its sessions in the order in which they came to be
--   all              zset    all sessions in the order in which they came to be
--   ends             zset    all sessions by the instant at which they end
--   used             zset    all used refresh tokens by the instant at which they would have ended
--   used:ID          set     those of one session
--   seq              string  counts sessions
--
-- Whatever is lost makes a session invalid, never valid: one that is not in its account's list is no session, since
-- revoking the account would not find it.

local function key(...)
    return KEYS[1] .. table.concat({...})
end

local function has_passed(instant, now)
    return tonumber(instant) <= tonumber(now)
end

-- Sets the fields of which a value is given: name, value, name, value …
local function set_pairs(hash, from)
    for index = from, #ARGV, 2 do
        redis.call('HSET', hash, ARGV[index], ARGV[index + 1])
    end
end

-- What of a session is named; the names begin as those of SESSION do.
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

-- Which session a refresh token is of, its generation, and when it ends.
local function refresh_token(digest)
    local known = redis.call('GET', key('refresh:', digest))
    if not known then
        return nil
    end
    return string.match(known, '^(%S+) (%d+) (-?%d+)$')
end

-- Keeps a session as the newest of its account. The fields stand in ARGV from there on.
local function keep_session(id, account, session_end, from)
    local place = redis.call('INCR', key('seq'))
    set_pairs(key('ses:', id), from)
    redis.call('ZADD', key('sessions:', account), place, id)
    redis.call('ZADD', key('all'), place, id)
    redis.call('ZADD', key('ends'), session_end, id)
end

-- Keeps an authorization request that is pending, or not, as its fields from there on say.
local function keep_authorization(id, claim, expires_at, from)
    set_pairs(key('reg:', id), from)
    if claim ~= '' then
        redis.call('SET', key('claim:', claim), id)
    end
    redis.call('ZADD', key('regs'), expires_at, id)
end

-- Takes an authorization request out of what is pending.
local function settle(id, source)
    redis.call('ZREM', key('pending'), id)
    if source then
        redis.call('ZREM', key('pending:', source), id)
    end
end

local function forget_authorization(id)
    local hash = key('reg:', id)
    local kept = redis.call('HMGET', hash, 'claim', 'source', 'account_id')
    settle(id, kept[2])
    if kept[1] then
        redis.call('DEL', key('claim:', kept[1]))
    end
    if kept[3] then
        redis.call('SREM', key('approved:', kept[3]), id)
    end
    redis.call('ZREM', key('regs'), id)
    redis.call('DEL', hash)
end

local function forget_authorizations(before, limit)
    local over = redis.call('ZRANGEBYSCORE', key('regs'), '-inf', before, 'LIMIT', 0, limit)
    for _, id in ipairs(over) do
        forget_authorization(id)
    end
    return #over
end
