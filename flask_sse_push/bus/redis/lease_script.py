"""The scripts of the leases: texts with a name and an end."""

from __future__ import annotations

from .script import script

__all__ = ["LIST_LEASES", "PUT_LEASE"]

PUT_LEASE = script("""
local leases = string.sub(KEYS[1], 1, -5) .. 'leases'
local app, milliseconds = ARGV[1], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if app ~= '' then
    if not string.find(redis.call('HGET', KEYS[1], 'apps') or '', app, 1, true) then
        return false
    end
    redis.call('HSET', KEYS[1], 'served_at', now)
end
local kind = redis.call('TYPE', leases)
if kind.ok ~= 'hash' and kind.ok ~= 'none' then
    redis.call('UNLINK', leases) -- a stranger's: a lease says what is now, and each is written again soon
end
redis.call('HSET', leases, ARGV[2], now + milliseconds .. ' ' .. ARGV[3])
if redis.call('PTTL', leases) < milliseconds then
    redis.call('PEXPIRE', leases, milliseconds)
end
if ARGV[5] == '1' then
    local stored = redis.call('HGETALL', leases)
    for index = 1, #stored, 2 do
        local ends_at = tonumber(string.match(stored[index + 1], '^(%d+) ')) or 0
        if ends_at <= now or ends_at >= 100000000000000 then -- no time
            redis.call('HDEL', leases, stored[index])
        end
    end
end
return now
""")
"""
KEYS: meta. ARGV: the digest of the app, name, text, milliseconds, and 1 to remove those
that have ended, for which all are read.

Returns the server's time in milliseconds; nothing when the log does not know the app, see PUBLISH.
"""

LIST_LEASES = script("""
local leases, prefix, found = string.sub(KEYS[1], 1, -5) .. 'leases', ARGV[2], {}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if ARGV[1] ~= '' then
    local known = redis.call('HMGET', KEYS[1], 'apps', 'owner')
    if known[2] and not string.find(known[1] or '', ARGV[1], 1, true) then
        return false
    end
end
if redis.call('TYPE', leases).ok ~= 'hash' then
    return found
end
local stored = redis.call('HGETALL', leases)
for index = 1, #stored, 2 do
    local ends_at, text = string.match(stored[index + 1], '^(%d+) (.*)$')
    if string.sub(stored[index], 1, #prefix) == prefix and ends_at and tonumber(ends_at) > now
        and tonumber(ends_at) < 100000000000000 then
        found[#found + 1] = stored[index]
        found[#found + 1] = text
    end
end
return found
""")
"""
KEYS: meta. ARGV: the digest of the app, and how the names begin.

Returns names and texts in turn; nothing when the log is another app's.
"""
