"""The scripts that run inside Redis: each is one step, between whose commands no other client's run."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

__all__ = ["PUBLISH", "REPORT", "TOUCH", "Script"]


class Script(NamedTuple):
    """A script and the name that Redis gives it."""

    text: str
    digest: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# KEYS: log, meta, keys. ARGV of both: a proposal for a new epoch, how much to keep (seconds, bytes, events),
# and the digest of the app (see owner.py), '' for a caller that the log's owner does not matter to.
#
# Replication is asynchronous and so is writing to the disk: a server that was restarted, or a replica that
# was promoted, may have lost what was accepted. Both have another replication id than the server that gave
# the last number, and a new epoch begins there. (It also begins, once, when a server gets its very first
# replica, or has had none for an hour, because the server takes a new id then: a reset too many, and never
# one too few.) A user who may not run INFO cannot know the id, and leaves the stored one as it is, or two
# such users would begin epochs in turn.
#
# The ids of the stream begin with a generation that rises, so that an entry of the new log wakes a reader
# that waits behind an id of the old one. The first write is one that a full, read-only or ailing server
# refuses: either all is done, or nothing.
#
# Anybody may have written into the hash. Numbers past 2^53 are none in Lua. Where no next number or no epoch
# can be read, a new log begins, and clients are told; otherwise one wrong field would stop publishing until
# somebody finds it.
_ENSURE = """
local proposal, seconds, max_bytes, max_events, digest = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local function count(text)
    local number = tonumber(text)
    if number and number >= 0 and number < 9007199254740992 and number == math.floor(number) then
        return number
    end
end
local info = redis.pcall('INFO', 'replication')
local server = ''
if type(info) == 'string' then
    if not string.find(info, 'role:master', 1, true) then
        return redis.error_reply('READONLY this is a replica')
    end
    server = string.match(info, 'master_replid:(%w+)') or ''
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local meta = redis.call(
    'HMGET', KEYS[2],
    'epoch', 'generation', 'head', 'bytes', 'server', 'seconds', 'max_bytes', 'max_events', 'apps'
)
local epoch, generation, head, size_bytes = meta[1], count(meta[2]), count(meta[3]), count(meta[4]) or 0
local apps = meta[9] or ''
local prefix
local function begin()
    local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    local behind = top and count(string.match(top[1], '^%d+')) or 0
    epoch, generation, head, size_bytes = proposal, math.max(now, (generation or 0) + 1, behind + 1), 0, 0
    if not count(generation) then
        generation = now
    end
    prefix = string.format('%.0f', generation) .. '-'
    redis.call(
        'HSET', KEYS[2],
        'epoch', epoch, 'generation', string.format('%.0f', generation), 'head', 0, 'events', 0, 'bytes', 0,
        'server', server
    )
    redis.call('UNLINK', KEYS[1], KEYS[3])
end
local is_epoch = epoch and #epoch <= 40 and string.find(epoch, '^[%w._~]+$')
local is_sound = is_epoch and generation and head and head < 9007199254740991
if not is_sound or (server ~= '' and meta[5] ~= server) then
    begin()
else
    prefix = string.format('%.0f', generation) .. '-'
end
if count(meta[7]) and count(meta[8]) and tonumber(meta[6]) and tonumber(meta[6]) >= 0 then
    seconds, max_bytes, max_events = meta[6], meta[7], meta[8]
end
local horizon = tonumber(seconds) * 1000
"""

TOUCH = _script(
    _ENSURE
    + """
local name, routes, is_writing, lease = ARGV[6], ARGV[7], ARGV[8] == '1', tonumber(ARGV[9])
local function ends(text, ending)
    return #text > #ending and string.sub(text, -#ending - 1) == '.' .. ending
end
local function is_same(owner, known)
    if name ~= owner and not ends(name, owner) and not ends(owner, name) then
        return false
    end
    local theirs, common = {}, 0
    for index = 1, #known, 8 do
        theirs[string.sub(known, index, index + 7)] = true
    end
    for index = 1, #routes, 8 do
        if theirs[string.sub(routes, index, index + 7)] then
            common = common + 1
        end
    end
    return #known == 0 or #routes == 0 or 16 * common >= math.max(#known, #routes)
end
if digest ~= '' and not string.find(apps, digest, 1, true) then
    local known = redis.call('HMGET', KEYS[2], 'owner', 'routes', 'served_at')
    local owner, served_at = known[1], count(known[3]) or 0
    if owner == '' then
        owner = false -- no app has this name, so a refusal could name none
    end
    -- A time in the future counts as absence too, if it is far: the clock was put back. A living owner renews
    -- its time within seconds.
    local absent = math.abs(now - served_at)
    if owner and is_same(owner, known[2] or '') then
        if ends(owner, name) then
            name = owner -- keep the longer name: else "shop.app" and "chat.app" would meet as "app"
        end
    elseif owner then
        if not is_writing or absent <= math.max(horizon, lease) then
            return {'', '', 0, now, owner}
        end
        apps = ''
        begin() -- the owner was absent for longer than the history: nothing of theirs could still be read
    end
    if is_writing then
        apps = digest .. string.sub(apps, 1, 15 * #digest)
        local stamp = string.format('%.0f', now)
        redis.call('HSET', KEYS[2], 'apps', apps, 'owner', name, 'routes', routes, 'served_at', stamp)
    end
end
local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if top and (string.sub(top[1], 1, #prefix) ~= prefix or tonumber(string.match(top[1], '%d+$')) > head) then
    begin() -- a stranger's entry, behind which no entry of ours could be added
end
if is_writing and (meta[6] ~= ARGV[2] or meta[7] ~= ARGV[3] or meta[8] ~= ARGV[4]) then
    redis.call('HSET', KEYS[2], 'seconds', ARGV[2], 'max_bytes', ARGV[3], 'max_events', ARGV[4])
elseif server == '' then
    redis.call('HSET', KEYS[2], 'epoch', epoch) -- a replica refuses it: this user may not ask
end
return {epoch, prefix, head, now, ''}
"""
)
"""
ARGV from 6 on: the app's name, its routes, 1 to write how much to keep and whose the log is, and a lease in
milliseconds.

Returns epoch, the beginning of the ids in the stream, head, the server's time in milliseconds, and the name
of the app that owns the log, '' if that is the caller.
"""

PUBLISH = _script(
    _ENSURE
    + """
if digest ~= '' and not string.find(apps, digest, 1, true) then
    return false
end
local channels, block, size, key = ARGV[6], ARGV[7], tonumber(ARGV[8]), ARGV[9]
local oldest = now - horizon
if key then
    local known = redis.call('HGET', KEYS[3], key)
    if known then
        local sequence, at = string.match(known, '^(%d+) (%d+)$')
        local id = sequence and prefix .. sequence
        if id and tonumber(at) >= oldest and redis.call('XRANGE', KEYS[1], id, id)[1] then
            return {epoch, tonumber(sequence), 1}
        end
    end
end
local stamp = string.format('%.0f', now)
local fields = {'v', '1', 'c', channels, 'b', block, 't', stamp, 's', ARGV[8]}
if key then
    fields[#fields + 1] = 'k'
    fields[#fields + 1] = key
end
local sequence = string.format('%.0f', head + 1)
local added = redis.pcall('XADD', KEYS[1], prefix .. sequence, unpack(fields))
local problem = type(added) == 'table' and added.err
if problem and (string.find(problem, 'equal or smaller') or string.find(problem, 'exhausted')) then
    begin() -- a stranger's entry has a higher id
    sequence = '1'
    added = redis.pcall('XADD', KEYS[1], prefix .. sequence, unpack(fields))
end
if type(added) == 'table' then
    return added
end
head = head + 1
local events = redis.call('XLEN', KEYS[1])
if events == 1 then
    size_bytes = 0 -- somebody deleted the stream, and all that was counted
    redis.call('UNLINK', KEYS[3])
end
size_bytes = size_bytes + size
if key then
    redis.call('HSET', KEYS[3], key, sequence .. ' ' .. stamp)
end
local from = '-'
for _ = 1, 8 do
    local entry = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1)[1]
    if not entry or entry[1] == prefix .. sequence then
        break
    end
    local values = {}
    for index = 1, #entry[2], 2 do
        values[entry[2][index]] = entry[2][index + 1]
    end
    local at = count(values['t']) or 0
    local is_within = events <= tonumber(max_events) and size_bytes <= tonumber(max_bytes)
    if is_within and at >= oldest and at <= now + horizon then
        break
    end
    redis.call('XDEL', KEYS[1], entry[1])
    events, size_bytes = events - 1, math.max(size_bytes - (count(values['s']) or 0), 0)
    if values['k'] then
        local known = redis.call('HGET', KEYS[3], values['k'])
        if known and string.match(known, '^%d+') == string.match(entry[1], '%d+$') then
            redis.call('HDEL', KEYS[3], values['k'])
        end
    end
end
local bytes = string.format('%.0f', size_bytes)
if digest ~= '' then
    redis.call('HSET', KEYS[2], 'head', sequence, 'events', events, 'bytes', bytes, 'served_at', stamp)
else
    redis.call('HSET', KEYS[2], 'head', sequence, 'events', events, 'bytes', bytes)
end
return {epoch, head, 0}
"""
)
"""
ARGV from 6 on: channels, block, size, and an idempotency key if there is one.

Returns epoch, sequence, and 1 when the key was known; nothing when the log does not know the app. Then the
caller runs TOUCH, which tells the log of it, and publishes again.
"""

REPORT = _script("""
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[3])) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if ARGV[5] ~= '' and string.find(redis.call('HGET', KEYS[2], 'apps') or '', ARGV[5], 1, true) then
    redis.call('HSET', KEYS[2], 'served_at', string.format('%.0f', now))
end
if ARGV[4] == '1' then
    local stored = redis.call('HGETALL', KEYS[1])
    for index = 1, #stored, 2 do
        if (tonumber(string.match(stored[index + 1], '^%d+')) or 0) < now then
            redis.call('HDEL', KEYS[1], stored[index])
        end
    end
end
return now
""")
"""
KEYS: reports, meta. ARGV: process, JSON, lease in milliseconds, 1 to remove the reports that have ended, and
the digest of the app.

Returns the server's time in milliseconds.
"""
