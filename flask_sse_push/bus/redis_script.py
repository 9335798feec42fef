"""What runs inside Redis: one script that numbers, stores and trims, and one that looks whether the log is still the same."""

from __future__ import annotations

__all__ = ["PUBLISH", "TOUCH"]

# KEYS: log, meta, keys. ARGV of both: a proposal for a new epoch, then history_seconds, history_bytes, history_events.
#
# Replication is asynchronous and so is writing to the disk: a server that was restarted, or a replica that was promoted, may have lost what
# was accepted. Both have another replication id than the server that gave the last number, and that is where a new epoch begins. The ids of
# the stream begin with a generation that rises, so that a reader who waits behind an id of the old log is woken by the new one.
_ENSURE = """
local proposal, seconds, bytes, events = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local info = redis.pcall('INFO', 'replication')
local server = ''
if type(info) == 'string' then
    if string.find(info, 'role:slave', 1, true) then
        return redis.error_reply('READONLY this is a replica')
    end
    server = string.match(info, 'master_replid:(%w+)') or ''
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local meta = redis.call('HMGET', KEYS[2], 'epoch', 'generation', 'head', 'events', 'bytes', 'server', 'seconds', 'max_bytes', 'max_events')
local epoch, generation, head = meta[1], tonumber(meta[2]), tonumber(meta[3])
if not epoch or meta[6] ~= server then
    epoch, generation, head = proposal, math.max(now, (generation or 0) + 1), 0
    meta[4], meta[5] = 0, 0
    redis.call('DEL', KEYS[1], KEYS[3])
    redis.call('HSET', KEYS[2], 'epoch', epoch, 'generation', string.format('%.0f', generation), 'head', 0, 'events', 0, 'bytes', 0, 'server', server)
    if not meta[7] then
        meta[7], meta[8], meta[9] = seconds, bytes, events
        redis.call('HSET', KEYS[2], 'seconds', seconds, 'max_bytes', bytes, 'max_events', events)
    end
end
local prefix = string.format('%.0f', generation) .. '-'
"""

TOUCH = (
    _ENSURE
    + """
if ARGV[5] == '1' and (meta[7] ~= seconds or meta[8] ~= bytes or meta[9] ~= events) then
    redis.call('HSET', KEYS[2], 'seconds', seconds, 'max_bytes', bytes, 'max_events', events)
end
return {epoch, prefix, head, now}
"""
)
"""Returns epoch, the beginning of the ids in the stream, head, and the server's time in milliseconds. ARGV[5] is 1 to write how much to keep."""

# The ids of entries that were trimmed between two publishes are the lowest, so "behind id 0" is where the oldest are.
PUBLISH = (
    _ENSURE
    + """
local channels, block, size, key = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
if key ~= '' then
    local known = redis.call('HGET', KEYS[3], key)
    if known then
        local sequence, at = string.match(known, '(%d+) (%d+)')
        if tonumber(at) >= now - tonumber(meta[7]) * 1000 then
            return {epoch, tonumber(sequence), 1}
        end
    end
end
head = head + 1
local count, total = tonumber(meta[4]) + 1, tonumber(meta[5]) + size
if key ~= '' then
    redis.call('XADD', KEYS[1], prefix .. head, 'v', '1', 'c', channels, 'b', block, 't', now, 's', size, 'k', key)
    redis.call('HSET', KEYS[3], key, head .. ' ' .. string.format('%.0f', now))
else
    redis.call('XADD', KEYS[1], prefix .. head, 'v', '1', 'c', channels, 'b', block, 't', now, 's', size)
end
local max_bytes, max_events, oldest = tonumber(meta[8]), tonumber(meta[9]), now - tonumber(meta[7]) * 1000
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 8)) do
    local fields = {}
    for index = 1, #entry[2], 2 do
        fields[entry[2][index]] = entry[2][index + 1]
    end
    if entry[1] == prefix .. head or (count <= max_events and total <= max_bytes and tonumber(fields['t']) >= oldest) then
        break
    end
    redis.call('XDEL', KEYS[1], entry[1])
    count, total = count - 1, total - tonumber(fields['s'])
    if fields['k'] then
        local known = redis.call('HGET', KEYS[3], fields['k'])
        if known and string.match(known, '%d+') == string.match(entry[1], '%-(%d+)') then
            redis.call('HDEL', KEYS[3], fields['k'])
        end
    end
end
redis.call('HSET', KEYS[2], 'head', head, 'events', count, 'bytes', total)
return {epoch, head, 0}
"""
)
"""ARGV from 5 on: channels, block, size, idempotency key or nothing. Returns epoch, sequence, and 1 when the key was known."""
