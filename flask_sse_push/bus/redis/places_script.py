"""
What the script that publishes does with channels: it finds them, lets go of what is old, and saves them.
"""

from __future__ import annotations

__all__ = ["MAX_ENDED", "PLACES"]

MAX_ENDED = 100_000
"""The last numbers of so many channels outlive their events. Of all others a floor is known."""

PLACES = """
local known, order, added = {}, {}, 0
local known_bytes, known_due, known_kept, known_names, known_floor
local function find(name)
    local state = known[name]
    if state then
        return state
    end
    local text = redis.call('HGET', base .. 'channels', name)
    state = read_state(text)
    if not state then
        -- Unknown: it is new, has ended long ago, or somebody removed what is known of channels.
        local count_of = redis.call('HLEN', base .. 'channels')
        if text or count_of + added ~= names then
            floor, names = head, count_of + added
        end
        if not text then
            names, added = names + 1, added + 1
        end
        state = {
            last = floor, history = floor, lost = floor, size = 0, values = 0, values_size = 0, age = 0,
            closed = 0, at = 0, over = 0, is_unknown = floor > 0
        }
        redis.call('UNLINK', base .. 'events:' .. name, base .. 'kept:' .. name)
    end
    if state.values > 0 then
        local values = redis.call('HLEN', base .. 'kept:' .. name)
        if values ~= state.values then -- somebody removed some, or added
            kept, state.values, state.lost = math.max(kept + values - state.values, 0), values, state.last
        end
    end
    if state.last > head then
        error('WRONGTYPE of a number: it was never given')
    end
    state.name = name
    known[name] = state
    order[#order + 1] = state
    return state
end
local function release(element)
    if not string.find(element, '\\n', 1, true) then
        local number = string.match(element, '^%d+') or ''
        local uses = count(redis.call('HGET', base .. 'shared', 'uses ' .. number)) or 1
        if uses > 1 then
            redis.call('HSET', base .. 'shared', 'uses ' .. number, uses - 1)
            return
        end
        redis.call('HDEL', base .. 'shared', number, 'uses ' .. number)
    end
    events = math.max(events - 1, 0)
end
local function end_of(state) -- it has neither events nor values
    redis.call('ZADD', base .. 'ended', state.last, state.name)
    if redis.call('ZCARD', base .. 'ended') > MAX_ENDED then
        local popped = redis.call('ZPOPMIN', base .. 'ended')
        floor = math.max(floor, tonumber(popped[2]))
        names = names - redis.call('HDEL', base .. 'channels', popped[1])
    end
end
local function forget(state) -- all of it but its numbers
    local list = base .. 'events:' .. state.name
    for from = 0, redis.call('LLEN', list) - 1, 1000 do
        for _, element in ipairs(redis.call('LRANGE', list, from, from + 999)) do
            release(element)
        end
    end
    redis.call('UNLINK', list, base .. 'kept:' .. state.name)
    redis.call('ZREM', base .. 'expiries', state.name)
    redis.call('ZREM', base .. 'oldest', state.name)
    bytes, kept = math.max(bytes - state.size, 0), math.max(kept - state.values, 0)
    kept_bytes = math.max(kept_bytes - state.values_size, 0)
    state.lost = state.values > 0 and state.last or math.max(state.lost, state.history)
    state.size, state.values, state.values_size = 0, 0, 0
    state.closed, state.at, state.over = 0, 0, 0
end
local function settle(state) -- its history is empty
    redis.call('ZREM', base .. 'oldest', state.name)
    bytes = math.max(bytes - state.size, 0)
    state.size, state.lost = 0, math.max(state.lost, state.history)
    if state.over > now then
        redis.call('ZADD', base .. 'expiries', state.over, state.name)
        return
    end
    redis.call('ZREM', base .. 'expiries', state.name)
    if state.closed > 0 then
        forget(state)
    end
    if state.values == 0 then
        end_of(state)
    end
end
local function drop_first(state)
    local list = base .. 'events:' .. state.name
    local element = redis.call('LPOP', list)
    local number, cost = string.match(element, '^(%d+) %d+ (%d+)')
    release(element)
    cost = math.min(count(cost) or 0, state.size)
    bytes, state.size = math.max(bytes - cost, 0), state.size - cost
    number = count(number)
    if not number then -- what stood here was overwritten
        local next_one = redis.call('LINDEX', list, 0) or ''
        number = (count(string.match(next_one, '^(%d+) ')) or state.history + 1) - 1
    end
    state.lost = math.max(state.lost, math.min(number, state.history))
end
local function sums()
    return string.format('%d %d %d %d %d %d %d', bytes, events, kept, kept_bytes, names, floor, due)
end
local function save()
    if bytes ~= known_bytes or due ~= known_due or kept ~= known_kept or names ~= known_names
        or floor ~= known_floor then
        redis.call('HSET', KEYS[1], 'sums', sums())
    end
    local saved = {}
    for index, state in ipairs(order) do
        saved[2 * index - 1] = state.name
        local text = string.format(
            '%d %d %d %d %d', state.last, state.history, state.lost, state.size, state.age
        )
        if state.values + state.closed > 0 then
            text = text .. string.format(
                ' %d %d %d %d %d', state.values, state.values_size, state.closed, state.at, state.over
            )
        end
        saved[2 * index] = text
    end
    redis.call('HSET', base .. 'channels', unpack(saved))
end
""".replace("MAX_ENDED", str(MAX_ENDED))
"""
Functions over the states of channels, which :data:`~.script.STATES` reads: ``find`` one, ``drop_first`` of
its events, ``settle`` it when it has none, ``forget`` it when it was closed for long enough, ``save`` all.
"""
