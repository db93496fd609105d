-- ARGV: limit. One step from version 1 to version 2. Returns whether there may be more. The progress is stored, so any
-- node can continue, and a failed step is repeated.
--
-- Keys of version 1: reg:ID is now req:ID, claim:DIGEST is lookup:DIGEST, regs is reqs, and redeemed:REQ was a string.

if redis.call('GET', key('version')) ~= '1' then
    return 0
end
local limit = tonumber(ARGV[1])
local reached = key('migration:place')
local resources = key('migration:resources')

local function migrate_session(id, place)
    local hash = key('ses:', id)
    local kept = redis.call('HMGET', hash, 'registration', 'resource')
    if kept[2] then
        redis.call('SADD', resources, kept[2])
    end
    if kept[1] then
        local redeemed = key('redeemed:', kept[1])
        redis.call('HSET', hash, 'request', kept[1])
        redis.call('DEL', redeemed)
        redis.call('ZADD', redeemed, place, id)
        redis.call('HDEL', hash, 'registration')
    end
end

local function text(value)
    return value and cjson.encode(value)
end

local function hex(bytes)
    return bytes and '"' .. string.gsub(bytes, '.', function(byte)
        return string.format('%02x', string.byte(byte))
    end) .. '"'
end

-- The flow as the ceremony writes it, without members that have no value.
local function flow_of(old)
    local members = {}
    local function add(name, json)
        if json then
            members[#members + 1] = '"' .. name .. '":' .. json
        end
    end
    local flow, finish_code = old.mode, nil
    if flow == 'detached' then
        finish_code = 'false'
    elseif flow == 'detached_or_finish_code' then
        flow, finish_code = 'detached', 'true'
    end
    add('flow', text(flow))
    add('version', '1')
    add('poll', hex(old.poll))
    add('exchange', hex(old.exchange))
    add('finish_code', finish_code)
    add('callback', text(old.callback))
    add('state', text(old.callback_state))
    add('challenge', hex(old.challenge))
    if old.code then
        add('code', '{"digest":' .. hex(old.code) .. ',"expires_at":' .. old.code_expires_at .. '}')
    end
    return '{' .. table.concat(members, ',') .. '}'
end

local function keep_migrated(id, old, expires_at, resource)
    local new = {
        resource = resource,
        flow = flow_of(old),
        state = old.state == 'exchanged' and 'redeemed' or old.state,
        failed_attempts = old.misses,
    }
    local fields = {}
    for _, name in ipairs(AUTHORIZATION) do
        local value = new[name] or old[name]
        if value then
            fields[#fields + 1] = name
            fields[#fields + 1] = value
        end
    end
    redis.call('HSET', key('req:', id), unpack(fields))
    add_lookups(id, {old.claim})
    if old.account_id then
        redis.call('ZADD', key('requests:', old.account_id), 0, id)
    end
    redis.call('ZADD', key('reqs'), expires_at, id)
end

-- An old request gets the resource of the sessions, if they all have the same. Otherwise it is dropped, and its agent
-- must request access again.
local function migrate_authorization(id, expires_at, resource)
    local hash, old = key('reg:', id), {}
    local pairs_of_old = redis.call('HGETALL', hash)
    for index = 1, #pairs_of_old, 2 do
        old[pairs_of_old[index]] = pairs_of_old[index + 1]
    end
    if old.id and resource then
        keep_migrated(id, old, expires_at, resource)
    else
        settle(id, old.source)
        if old.account_id then
            redis.call('SREM', key('approved:', old.account_id), id)
        end
    end
    if old.claim then
        redis.call('DEL', key('claim:', old.claim))
    end
    redis.call('DEL', hash)
    redis.call('ZREM', key('regs'), id)
end

local place = redis.call('GET', reached) or '0'
local page = redis.call('ZRANGEBYSCORE', key('all'), '(' .. place, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
if #page > 0 then
    local last = page[#page]
    -- More than one page if the session counter was lost once, so that positions are used twice.
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('all'), '(' .. place, last)) do
        migrate_session(id, redis.call('ZSCORE', key('all'), id))
    end
    redis.call('SET', reached, last)
    return 1
end

local known = redis.call('SMEMBERS', resources)
local resource = #known == 1 and known[1]
local old = redis.call('ZRANGE', key('regs'), 0, limit - 1, 'WITHSCORES')
if #old > 0 then
    for index = 1, #old, 2 do
        migrate_authorization(old[index], old[index + 1], resource)
    end
    return 1
end

redis.call('SET', key('version'), 2)
redis.call('DEL', reached, resources)
-- Makes a node of the old version fail, instead of storing a request that no other node finds.
redis.call('SET', key('regs'), 'moved')
return 0
