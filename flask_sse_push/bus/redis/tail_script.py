"""The scripts that only read: the past of some channels, and the leases."""

from __future__ import annotations

from .script import STATES, script

__all__ = ["MAX_REPLY_BYTES", "TAIL"]

MAX_REPLY_BYTES = 1 << 20
"""
Where the answer of TAIL ends, at least one event later. A server cuts a connection that listens when its
answers and messages come to 32 MB.
"""

TAIL = script(
    STATES.replace(
        "local function read_state",
        """
local base = string.sub(KEYS[1], 1, -5)
local function count(text)
    local number = tonumber(text)
    if number and number >= 0 and number < 100000000000000 and number == math.floor(number) then
        return number
    end
end
local function read_state""",
    )
    + """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'sums')
local head = count(meta[2]) or 0
local names, floor = string.match(meta[3] or '', '^%d+ %d+ %d+ %d+ (%d+) (%d+) %d+$')
floor = count(floor) or head
if redis.call('HLEN', base .. 'channels') ~= count(names) then
    floor = head -- somebody removed what is known of channels
end
local size, answer = 0, {meta[1] or '', head, now}
local function tail(name, behind, behind_value)
    local text = redis.call('HGET', base .. 'channels', name)
    local state = read_state(text)
    if not state then
        if text then
            floor = head
        end
        return {(floor > 0 and '~' or '') .. floor, floor > behind and floor or 0, 0, 0, {}, {}, 0, {}}
    end
    local list, lost, entries, values = base .. 'events:' .. name, state.lost, {}, {}
    if state.closed > 0 and state.over <= now then
        return {state.last .. '', state.history > behind and state.history or 0, 0, 0, {}, {}, 0, {}}
    end
    local length = redis.call('LLEN', list)
    if length == 0 then
        lost = state.history
    end
    -- The first event above the number that is young enough. What stands at a place and is none counts as
    -- one, so that nothing before it is passed over.
    local low, high = 0, length
    while low < high do
        local middle = math.floor((low + high) / 2)
        local number, at = string.match(redis.call('LINDEX', list, middle), '^(%d+) (%d+) ')
        number, at = count(number), count(at)
        if number and (number <= behind or (at and (at + state.age <= now or at > now + state.age))) then
            low = middle + 1
            if number > behind then
                lost = math.max(lost, number)
            end
        else
            high = middle
        end
    end
    while low < length do
        local page = redis.call('LRANGE', list, low, low + 99)
        for _, element in ipairs(page) do
            if size > MAX_REPLY_BYTES then
                lost = lost > behind and lost or 0
                return {state.last .. '', lost, state.closed, state.at, entries, values, 1, {}}
            end
            local number = count(string.match(element, '^(%d+) '))
            if not number or number <= behind or number > head then
                if entries[#entries] ~= '?' then
                    entries[#entries + 1] = '?' -- somebody has put it there, in the place of an event
                end
            else
                if not string.find(element, '\\n', 1, true) then
                    element = redis.call('HGET', base .. 'shared', number) or element
                end
                entries[#entries + 1] = element
                size = size + #element
            end
        end
        low = low + #page
    end
    local kept, order, numbers = redis.call('HGETALL', base .. 'kept:' .. name), {}, {}
    if #kept ~= 2 * state.values then
        lost = state.last -- somebody removed values
    end
    for index = 2, #kept, 2 do
        local number = count(string.match(kept[index], '^%d+ ')) or 0
        if number == 0 or number > head then
            lost = state.last
        else
            if number > behind_value then
                order[#order + 1] = {number, kept[index]}
            end
            if behind_value > 0 then
                numbers[#numbers + 1] = number
            end
        end
    end
    table.sort(order, function(one, other) return one[1] < other[1] end)
    local is_cut = 0
    for _, pair in ipairs(order) do
        if size > MAX_REPLY_BYTES then
            is_cut = 1
            break
        end
        values[#values + 1] = pair[2]
        size = size + #pair[2]
    end
    return {
        state.last .. '', lost > behind and lost or 0, state.closed, state.at, entries, values, is_cut,
        numbers
    }
end
for index = 1, #ARGV, 3 do
    local behind = tonumber(ARGV[index + 1])
    local found = tail(ARGV[index], behind < 0 and head or behind, tonumber(ARGV[index + 2]))
    answer[#answer + 1] = found
    if found[7] == 1 or size > MAX_REPLY_BYTES then
        break
    end
end
return answer
""".replace("MAX_REPLY_BYTES", str(MAX_REPLY_BYTES))
)
"""
KEYS: meta. ARGV: for each channel its name, the number above which its events are
asked for (-1 for none), and the number above which its values are.

Returns epoch, head, the server's time in milliseconds, and for each channel, as many as fit, a list: the
number of its last event (with a ~ in front where it is not known, and at most this), that of the newest event
that is gone and was asked for, that of the event that closed it and when that was, its events ('?' for any
number of texts that are none), its values, 1 when there are more of them, and the numbers of all its values
where only those above a number were asked for.
"""
