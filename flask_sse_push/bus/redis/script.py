"""
The scripts that run inside Redis: each is one step, between whose commands no other client's run. Here stands
what they have in common, and the one that begins a log.

All keys begin with the prefix in braces, so that a Cluster has them on one node:

- ``meta``, a hash: the epoch and its last number, whose log it is, how much to keep, and sums over all
  channels: the bytes of histories, events, values, their bytes, names in ``channels``, the floor under the
  numbers of channels that are not there, and a time before which no event is too old;
- ``channels``, a hash: for each channel some numbers (:data:`STATES`), which outlive its events;
- ``events:NAME``, a list: the history of a channel, and ``kept:NAME``, a hash: its values by their keys;
- ``shared``, a hash: the events of several channels, whose lists hold only their numbers;
- ``expiries`` and ``oldest``, sorted sets: channels by the time when their first event is too old, and by its
  number. A score may be too low: who comes across it looks at the list, and corrects it;
- ``ended``, a sorted set: channels without events and values, by their last number;
- ``once`` and ``once_ends``: idempotency keys, and when they are forgotten; ``leases``, a hash.

An event is text: a line ``NUMBER MILLISECONDS COST BEFORE,BEFORE``, with `` !`` behind it where it closes its
channels; a line of their names, a line with its key, and the block. A ``BEFORE`` is the number of the last
event of a channel before this one. It is published on ``to:NAME`` with the epoch and a space in front. Where
that is too much, because the event has many channels, only the first number is, and the readers ask for the
rest.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

__all__ = ["BEGINNING", "FORMAT", "STATES", "TOUCH", "Script", "script"]

FORMAT = 2
"""The version of all this. Version 1 was one stream of all events."""


class Script(NamedTuple):
    """A script and the name that Redis gives it."""

    text: str
    digest: str


def script(text: str) -> Script:
    """Return a script."""
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# KEYS: meta. ARGV of all that begin so: a proposal for a new epoch, and the digest of the app (see owner.py),
# '' for a caller that the log's owner does not matter to.
#
# Replication is asynchronous and so is writing to the disk: a server that was restarted, or a replica that
# was promoted, may have lost what was accepted. Both have another replication id than the server that gave
# the last number, and a new epoch begins there. (It also begins, once, when a server gets its very first
# replica, or has had none for an hour, because the server takes a new id then: a reset too many, and never
# one too few.) A user who may not run INFO cannot know the id, and leaves the stored one as it is, or two
# such users would begin epochs in turn.
#
# Anybody may have written into the hash. Where no next number or no epoch can be read, a new log begins, and
# clients are told; otherwise one wrong field would stop publishing until somebody finds it. Numbers stay
# below 10^14, because Lua writes no more digits than 14 when it makes a number a text.
BEGINNING = """
local base, proposal, app = string.sub(KEYS[1], 1, -5), ARGV[1], ARGV[2]
local function count(text)
    local number = tonumber(text)
    if number and number >= 0 and number < 100000000000000 and number == math.floor(number) then
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
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'format', 'head', 'server', 'sums', 'digest', 'apps')
local epoch, format, head, digest, apps = meta[1], count(meta[2]), count(meta[3]), meta[6], meta[7] or ''
local bytes, events, kept, kept_bytes, names, floor, due = string.match(
    meta[5] or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$'
)
if floor then
    bytes, events, kept, kept_bytes, names = bytes + 0, events + 0, kept + 0, kept_bytes + 0, names + 0
    floor, due = floor + 0, due + 0
end
if format and format > 2 then
    return redis.error_reply('NEWERFORMAT ' .. format)
end
local function begin()
    epoch, head, bytes, events, kept, kept_bytes, names, floor, due = proposal, 0, 0, 0, 0, 0, 0, 0, 0
    redis.call(
        'HSET', KEYS[1], 'epoch', epoch, 'format', 2, 'head', 0, 'server', server, 'sums', '0 0 0 0 0 0 0'
    )
    local channels = redis.pcall('HKEYS', base .. 'channels')
    local gone = {}
    for _, name in ipairs({'channels', 'shared', 'expiries', 'oldest', 'ended', 'once', 'once_ends'}) do
        gone[#gone + 1] = base .. name
    end
    for index = 1, #channels do
        gone[#gone + 1] = base .. 'events:' .. channels[index]
        gone[#gone + 1] = base .. 'kept:' .. channels[index]
        if #gone > 1000 then
            redis.call('UNLINK', unpack(gone))
            gone = {}
        end
    end
    redis.call('UNLINK', base .. 'channels', unpack(gone))
    if meta[1] and format ~= 2 then -- what version 1 wrote
        redis.call('HDEL', KEYS[1], 'generation', 'seconds', 'max_bytes', 'max_events')
        redis.call('UNLINK', base .. 'log', base .. 'keys', base .. 'reports')
    end
    format = 2
end
local is_epoch = epoch and #epoch <= 40 and string.find(epoch, '^[%w._~]+$')
if format ~= 2 or not is_epoch or not head or not floor or math.max(head, floor, bytes) > 99999999990000
    or (server ~= '' and meta[4] ~= server) then
    begin()
end
"""

STATES = """
local function read_state(text)
    local last, history, lost, size, age, more = string.match(
        text or '', '^(%d+) (%d+) (%d+) (%d+) (%d+)(.*)$'
    )
    if not age then
        return nil
    end
    local state = {
        last = last + 0, history = history + 0, lost = lost + 0, size = size + 0, age = age + 0,
        values = 0, values_size = 0, closed = 0, at = 0, over = 0
    }
    if more ~= '' then
        local values, values_size, closed, at, over = string.match(more, '^ (%d+) (%d+) (%d+) (%d+) (%d+)$')
        if not over then
            return nil
        end
        state.values, state.values_size, state.closed = values + 0, values_size + 0, closed + 0
        state.at, state.over = at + 0, over + 0
    end
    return state
end
"""
"""
Reads what stands in ``channels``: the numbers of the last event of a channel, of its last one in the history,
and of the newest such one that is gone; the bytes of its history; for how many milliseconds its events count.
Where it keeps values or is closed, there follow how many values it keeps, and their bytes; the number of the
event that closed it, when that was and when it is forgotten, or 0, 0 and 0.
"""

TOUCH = script(
    BEGINNING
    + """
local name, routes, is_writing, lease = ARGV[3], ARGV[4], ARGV[5] == '1', tonumber(ARGV[6])
local known_epoch, known_head = ARGV[10], tonumber(ARGV[11])
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
if app ~= '' and not string.find(apps, app, 1, true) then
    local known = redis.call('HMGET', KEYS[1], 'owner', 'routes', 'served_at', 'horizon')
    local owner, served_at, horizon = known[1], count(known[3]) or 0, count(known[4]) or tonumber(ARGV[9])
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
            return {'', 0, now, owner}
        end
        apps = ''
        begin() -- the owner was absent for longer than the history: nothing of theirs could still be read
        redis.call('UNLINK', base .. 'leases')
    end
    if is_writing then
        apps = app .. string.sub(apps, 1, 15 * #app)
        redis.call('HSET', KEYS[1], 'apps', apps, 'owner', name, 'routes', routes, 'served_at', now)
    end
end
if epoch == known_epoch and known_head > head then
    begin() -- the server has forgotten numbers that it gave
end
if is_writing and digest ~= ARGV[7] then
    redis.call('HSET', KEYS[1], 'digest', ARGV[7], 'rules', ARGV[8], 'horizon', ARGV[9])
elseif server == '' then
    redis.call('HSET', KEYS[1], 'epoch', epoch) -- a replica refuses it: this user may not ask
end
return {epoch, head, now, ''}
"""
)
"""
ARGV from 3 on: the app's name, its routes, 1 to write how much to keep and whose the log is, a lease in
milliseconds; a name for how much to keep, that itself, and the longest time in it in milliseconds; the epoch
that the caller knows, and a number that was given in it.

Returns epoch, head, the server's time in milliseconds, and the name of the app that owns the log, '' if that
is the caller.
"""
