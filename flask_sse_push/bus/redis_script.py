"""What runs inside Redis: each script is one step that nobody can come between."""

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


# KEYS: log, meta, keys. ARGV of both: a proposal for a new epoch, then how much to keep: seconds, bytes, events.
#
# Replication is asynchronous and so is writing to the disk: a server that was restarted, or a replica that was promoted, may have lost what
# was accepted. Both have another replication id than the server that gave the last number, and that is where a new epoch begins. (So it
# does, once, when a server gets its very first replica, or has had none for an hour: it takes a new id then. That is a reset too many, and
# never one too few.) A user who may not run INFO cannot know the id; what others wrote is left to stand, or two such users would begin
# epochs in turn.
#
# The ids of the stream begin with a generation that rises, so that a reader who waits behind an id of the old log is woken by the new one.
# The first thing written is one that a full, read-only or ailing server refuses: either all is done, or nothing.
_ENSURE = """
local proposal, seconds, max_bytes, max_events = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
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
local meta = redis.call('HMGET', KEYS[2], 'epoch', 'generation', 'head', 'bytes', 'server', 'seconds', 'max_bytes', 'max_events')
local epoch, generation, head, size_bytes = meta[1], tonumber(meta[2]) or 0, tonumber(meta[3]), tonumber(meta[4])
local prefix
local function begin()
    local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    local behind = top and tonumber(string.match(top[1], '^%d+')) or 0
    epoch, generation, head, size_bytes = proposal, math.max(now, generation + 1, behind + 1), 0, 0
    prefix = string.format('%.0f', generation) .. '-'
    redis.call(
        'HSET', KEYS[2], 'epoch', epoch, 'generation', string.format('%.0f', generation), 'head', 0, 'events', 0, 'bytes', 0, 'server', server
    )
    redis.call('UNLINK', KEYS[1], KEYS[3])
end
if not epoch or (server ~= '' and meta[5] ~= server) then
    begin()
else
    prefix = string.format('%.0f', generation) .. '-'
end
if meta[6] then
    seconds, max_bytes, max_events = meta[6], meta[7], meta[8]
end
"""

TOUCH = _script(
    _ENSURE
    + """
local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if top and (string.sub(top[1], 1, #prefix) ~= prefix or tonumber(string.match(top[1], '%d+$')) > head) then
    begin() -- a stranger's entry: nothing could be added behind it
end
local wanted = ARGV[5] == '1'
if wanted and (meta[6] ~= ARGV[2] or meta[7] ~= ARGV[3] or meta[8] ~= ARGV[4]) then
    redis.call('HSET', KEYS[2], 'seconds', ARGV[2], 'max_bytes', ARGV[3], 'max_events', ARGV[4])
elseif server == '' then
    redis.call('HSET', KEYS[2], 'epoch', epoch) -- who may not ask for the role finds out so
end
return {epoch, prefix, head, now}
"""
)
"""Returns epoch, the beginning of the ids in the stream, head, and the server's time in milliseconds. ARGV[5] is 1 to write how much to keep."""

PUBLISH = _script(
    _ENSURE
    + """
local channels, block, size, key = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local oldest = now - tonumber(seconds) * 1000
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
local fields = {'v', '1', 'c', channels, 'b', block, 't', stamp, 's', ARGV[7]}
if key then
    fields[#fields + 1] = 'k'
    fields[#fields + 1] = key
end
local sequence = string.format('%.0f', head + 1)
local added = redis.pcall('XADD', KEYS[1], prefix .. sequence, unpack(fields))
if type(added) == 'table' and string.find(added.err, 'equal or smaller', 1, true) then
    begin() -- a stranger's entry is in the way
    sequence = '1'
    added = redis.pcall('XADD', KEYS[1], prefix .. sequence, unpack(fields))
end
if type(added) == 'table' then
    return added
end
head = head + 1
local events = redis.call('XLEN', KEYS[1])
if events == 1 then
    size_bytes = 0 -- who deletes the stream takes with it what was counted
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
    if events <= tonumber(max_events) and size_bytes <= tonumber(max_bytes) and (tonumber(values['t']) or 0) >= oldest then
        break
    end
    redis.call('XDEL', KEYS[1], entry[1])
    events, size_bytes = events - 1, math.max(size_bytes - (tonumber(values['s']) or 0), 0)
    if values['k'] then
        local known = redis.call('HGET', KEYS[3], values['k'])
        if known and string.match(known, '^%d+') == string.match(entry[1], '%d+$') then
            redis.call('HDEL', KEYS[3], values['k'])
        end
    end
end
redis.call('HSET', KEYS[2], 'head', sequence, 'events', events, 'bytes', string.format('%.0f', size_bytes))
return {epoch, head, 0}
"""
)
"""ARGV from 5 on: channels, block, size, and an idempotency key if there is one. Returns epoch, sequence, and 1 when the key was known."""

REPORT = _script("""
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[3])) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
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
"""KEYS: reports. ARGV: process, JSON, lease in milliseconds, 1 to remove those that have ended. Returns the server's time in milliseconds."""
