-- Prepended, after common.lua, to the scripts that would also run on a replica, and to those that take access away.
--
-- A replica may not know the newest sessions and revocations. It refuses every write, even one that changes nothing.
-- Other errors don't matter here.
local refused = redis.pcall('DEL', key('nothing'))
if type(refused) == 'table' and refused.err
    and (string.find(refused.err, 'READONLY', 1, true) or string.find(refused.err, 'stale replica', 1, true)) then
    return redis.error_reply('READONLY this server is a replica')
end
-- Redis checks its memory limit at the first write of a script only. Those after `DEL` are allowed when it is full.
