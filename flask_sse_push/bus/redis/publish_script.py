"""The script that publishes: it numbers an event, stores it, hands it on, and lets go of the oldest ones."""

from __future__ import annotations

from .places_script import PLACES
from .script import BEGINNING, STATES, script

__all__ = ["MAX_ONCE", "PUBLISH"]

MAX_ONCE = 100_000
"""So many idempotency keys are known at once; the oldest go first."""

# The first write of an event is one that a full, read-only or ailing server refuses: either all is done, or
# nothing. Then the event is handed on, which a user without the right to do so may not: at most a number is
# skipped. What follows fails only where a stranger has put something else in the place of one of our keys.
PUBLISH = script(
    BEGINNING
    + STATES
    + PLACES
    + """
if app ~= '' and not string.find(apps, app, 1, true) then
    return false
end
local max_bytes, max_kept, max_kept_bytes, name = string.match(ARGV[3], '^(%d+) (%d+) (%d+) (.*)$')
if digest and digest ~= name then
    return {epoch, 0, 'rules', digest, redis.call('HGET', KEYS[1], 'rules') or ''}
end
local block, size, special = ARGV[4], ARGV[5] + 0, 7 + 3 * ARGV[6]
local key, closes, once = ARGV[special] or '', ARGV[special + 1] == '1', ARGV[special + 2] or ''
max_bytes, max_kept, max_kept_bytes = max_bytes + 0, max_kept + 0, max_kept_bytes + 0
local function is_known(text) -- whether an idempotency key counts
    local number, over, place = string.match(text, '^(%d+) (%d+) ?([^ ]*)')
    if not count(number) or count(number) == 0 or count(number) > head then
        return false
    end
    if tonumber(over) > now or place == '' then
        return tonumber(over) > now
    end
    local value = redis.call('HGET', base .. 'kept:' .. place, string.sub(text, #number + #over + #place + 4))
    return value and string.match(value, '^%d+') == number
end
local function publish()
    if once ~= '' then
        local text = redis.call('HGET', base .. 'once', once)
        if text and is_known(text) then
            return {epoch, tonumber(string.match(text, '^%d+')), 'repeated'}
        end
    end
    local places, longest = {}, 0
    local is_closing, is_forgetting = block == '' and closes, block == '' and not closes
    local newest = 0
    for index = 7, special - 1, 3 do
        local state = find(ARGV[index])
        if state.closed > 0 and state.over <= now then
            forget(state)
            save()
        end
        state.limit, state.age = ARGV[index + 1] + 0, ARGV[index + 2] + 0
        longest = math.max(longest, state.age)
        if state.closed > 0 and not is_closing then
            return {epoch, 0, 'closed', state.name}
        end
        newest = math.max(newest, state.closed)
        if key ~= '' then
            local old = redis.call('HGET', base .. 'kept:' .. state.name, key)
            local old_cost = old and count(string.match(old, '^%d+ %d+ (%d+)')) or 0
            state.old_cost = old and math.min(old_cost, state.values_size)
        end
        if state.closed == 0 and (state.old_cost or not is_forgetting) then
            places[#places + 1] = state
        end
    end
    if #places == 0 then
        return {epoch, is_closing and newest or head, 'repeated'}
    end
    local is_event, is_value = key == '' and block ~= '', key ~= '' and block ~= ''
    local befores, texts = {}, {}
    for index, state in ipairs(places) do
        befores[index] = (state.is_unknown and '~' or '') .. state.last
        texts[index] = state.name
    end
    texts = table.concat(texts, ' ')
    -- What an event of several channels weighs is shared by them, and each has a copy of a value.
    local cost = math.floor((size + #texts) / #places) + 64
    if is_value then
        cost = size + 64
        local more = 0
        for _, state in ipairs(places) do
            if not state.old_cost and state.values >= max_kept then
                return {epoch, 0, 'values', state.name}
            end
            more = more + cost - (state.old_cost or 0)
        end
        if more > 0 and kept_bytes + more > max_kept_bytes then
            return {epoch, 0, 'bytes'}
        end
        kept_bytes = math.max(kept_bytes + more, 0)
    end
    head = head + 1
    local text = head .. ' ' .. now .. ' ' .. cost .. ' ' .. table.concat(befores, ',')
        .. (closes and ' !' or '') .. '\\n' .. texts .. '\\n' .. key .. '\\n' .. block
    if is_event then
        events, bytes = events + 1, bytes + cost * #places
    end
    known_bytes, known_due, known_kept, known_names, known_floor = bytes, due, kept, names, floor
    if app ~= '' then
        redis.call('HSET', KEYS[1], 'head', head, 'sums', sums(), 'served_at', now)
    else
        redis.call('HSET', KEYS[1], 'head', head, 'sums', sums())
    end
    local message = epoch .. ' ' .. text
    if #places > 1 and #places * #message > 1048576 then
        message = epoch .. ' ' .. head
    end
    local element = text
    if #places > 1 and is_event then
        redis.call('HSET', base .. 'shared', head, text, 'uses ' .. head, #places)
    end
    for _, state in ipairs(places) do
        redis.call('PUBLISH', base .. 'to:' .. state.name, message)
        local had_nothing = state.size == 0 and state.values == 0
        state.last, state.is_unknown = head, false
        if closes then
            state.closed, state.at, state.over = head, now, now + state.age
        end
        if is_value then
            redis.call('HSET', base .. 'kept:' .. state.name, key, text)
            if not state.old_cost then
                state.values, kept = state.values + 1, kept + 1
            end
            state.values_size = state.values_size + cost - (state.old_cost or 0)
        elseif is_forgetting then
            redis.call('HDEL', base .. 'kept:' .. state.name, key)
            state.values, kept = math.max(state.values - 1, 0), math.max(kept - 1, 0)
            state.values_size = state.values_size - state.old_cost
            kept_bytes = math.max(kept_bytes - state.old_cost, 0)
        elseif is_event then
            if #places > 1 then
                element = head .. ' ' .. now .. ' ' .. cost
            end
            local length = redis.call('RPUSH', base .. 'events:' .. state.name, element)
            if length == 1 then
                if state.size > 0 then -- somebody removed what was there
                    bytes = math.max(bytes - state.size, 0)
                    state.size, state.lost = 0, math.max(state.lost, state.history)
                end
                due = math.min(due, now + state.age)
                redis.call('ZADD', base .. 'expiries', now + state.age, state.name)
                redis.call('ZADD', base .. 'oldest', head, state.name)
            end
            state.history, state.size = head, state.size + cost
            for _ = 1, math.min(length - state.limit, 8) do
                drop_first(state)
            end
        end
        if closes and state.size == 0 then
            due = math.min(due, state.over)
            redis.call('ZADD', base .. 'expiries', state.over, state.name)
        end
        if state.size == 0 and state.values == 0 and state.closed == 0 then
            end_of(state)
        elseif had_nothing then
            redis.call('ZREM', base .. 'ended', state.name)
        end
    end
    if once ~= '' then
        local over = now + longest
        local place = is_value and ' ' .. places[1].name .. ' ' .. key or ''
        redis.call('HSET', base .. 'once', once, head .. ' ' .. over .. place)
        redis.call('ZADD', base .. 'once_ends', over, once)
        for _ = 1, 2 do
            local first = redis.call('ZRANGE', base .. 'once_ends', 0, 0, 'WITHSCORES')
            local is_full = redis.call('ZCARD', base .. 'once_ends') > MAX_ONCE
            if not is_full and tonumber(first[2]) > now then
                break
            end
            local text = redis.call('HGET', base .. 'once', first[1])
            if text and not is_full and is_known(text) then
                redis.call('ZADD', base .. 'once_ends', over, first[1]) -- its value is still kept
            else
                redis.call('HDEL', base .. 'once', first[1])
                redis.call('ZREM', base .. 'once_ends', first[1])
            end
        end
    end
    local steps = 8 + 2 * #places
    while due <= now and steps > 0 do
        local front = redis.call('ZRANGE', base .. 'expiries', 0, 0, 'WITHSCORES')
        due = math.min(tonumber(front[2]) or now + 1000, now + 1000)
        if due > now then
            break
        end
        local state = find(front[1])
        local first = redis.call('LINDEX', base .. 'events:' .. front[1], 0)
        if not first then
            settle(state)
        else
            local at = count(string.match(first, '^%d+ (%d+) '))
            if not at or at + state.age <= now or at > now + state.age then
                drop_first(state)
            else
                redis.call('ZADD', base .. 'expiries', at + state.age, front[1])
            end
        end
        steps = steps - 1
    end
    while bytes > max_bytes and steps > 0 do
        local front = redis.call('ZRANGE', base .. 'oldest', 0, 0, 'WITHSCORES')
        if not front[1] then
            bytes = 0 -- somebody removed all, and that was not counted
            break
        end
        local state = find(front[1])
        local first = redis.call('LINDEX', base .. 'events:' .. front[1], 0)
        local number = first and count(string.match(first, '^%d+'))
        if not first then
            settle(state)
        elseif number and number > tonumber(front[2]) then
            redis.call('ZADD', base .. 'oldest', number, front[1])
        elseif number == head then
            break -- a single event may be larger than the bound
        else
            drop_first(state)
        end
        steps = steps - 1
    end
    save()
    return {epoch, head, ''}
end
local is_done, answer = pcall(publish)
if not is_done then
    local problem = type(answer) == 'table' and answer.err or tostring(answer)
    if not string.find(problem, 'WRONGTYPE', 1, true) then
        -- What was not stored counts for nothing.
        redis.pcall('HSET', KEYS[1], 'sums', epoch == meta[1] and meta[5] or '0 0 0 0 0 0 0')
        return redis.error_reply(problem)
    end
    begin() -- a stranger has put something else in the place of one of our keys
    known, order, added = {}, {}, 0
    answer = publish()
end
return answer
""".replace("MAX_ONCE", str(MAX_ONCE))
)
"""
ARGV from 3 on: the name of the rules that the caller knows, and what they allow in all (bytes of events,
values of a channel, bytes of values), in one text; the block, what the event weighs, and the number of its
channels; for each channel its name, and how many events and milliseconds its history has; and where any of
them is needed the key or '', 1 to close, and the idempotency key or ''.

Returns epoch, number, and '' when the event was stored, or why it was not: 'repeated' (the number is that of
the earlier event), 'closed' or 'values' (a fourth item names the channel), 'bytes', or 'rules' (others count:
their name and their text follow). Nothing when the log does not know the app: then the caller runs TOUCH,
which tells the log of it, and publishes again.
"""
