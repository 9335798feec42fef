"""
Break the package on purpose, one line at a time, and see a test go red each time.

    python -m tests.mutations                     # all of them
    python -m tests.mutations --only jitter       # those with this in their name
    python -m tests.mutations --seconds 30        # as many as there is time for, chosen at random
    python -m tests.mutations --list

Each mutation is applied to a copy of the tree, and the tests that it names are run there. A mutation that no
test notices survives: the promise that its line keeps has no test. A text that is not found, or found twice,
is
an error: whoever changes the line brings the mutation along.

A new promise gets a mutation: append it to the list of its room, and name the few tests that must see it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support import FACTOR

__all__ = ["MUTATIONS", "Mutation", "main"]

ROOT = Path(__file__).parents[1]
PACKAGE = "flask_sse_push"

TEST_SECONDS = 120 * FACTOR
"""A mutation that makes the tests hang is noticed, too, after this time."""

ALL_SECONDS = 900 * FACTOR
"""All tests that any mutation names, one after the other, take no longer without a mutation."""


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One line of the package that is changed."""

    name: str
    """What is broken, in words."""
    file: str
    """The module, below the package."""
    text: str
    """What stands there, exactly once."""
    replacement: str
    """What is put in its place."""
    tests: tuple[str, ...]
    """The files, or single tests, of which at least one must fail; below ``tests``."""


CORE = [
    Mutation(
        "the oldest watermarks are forgotten without a floor",
        "core/watermarks.py",
        "self.floor = max(self.floor, self.popitem(last=False)[1])",
        "self.popitem(last=False)",
        ("core/test_watermarks.py", "core/test_log.py"),
    ),
    Mutation(
        "a number may come twice",
        "core/log.py",
        "        if sequence <= self.head:\n",
        "        if False:\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "a batch has no bound",
        "core/log.py",
        "            if size > self._batch_bytes and wires:\n",
        "            if False:\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "a shared read hides a loss",
        "streams/subscription.py",
        "            if found is not None and not found[0].lost:\n",
        "            if found is not None:\n",
        ("unit/test_subscription.py",),
    ),
    Mutation(
        "a shared read outlives the next entry",
        "core/log.py",
        "        if self.batches:\n            self.batches.clear()\n",
        "",
        ("core/test_log.py", "core/test_log_cache.py"),
    ),
    Mutation(
        "a loss is told again with each read",
        "core/log.py",
        "            cursor.reported = {channel: self.watermark(channel) for channel in cursor.channels}\n",
        "            pass\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "a lone CR begins no new data line",
        "core/wire.py",
        '_LINE_END = re.compile("\\r\\n|\\r|\\n")',
        '_LINE_END = re.compile("\\r\\n|\\n")',
        ("core/test_wire.py", "core/test_event.py", "core/test_properties.py"),
    ),
    Mutation(
        "a batch for a cursor that was told of a loss is shared with one that was not",
        "core/log.py",
        "            if not cursor.reported:\n                self.batches.keep(place, found)\n",
        "            self.batches.keep(place, found)\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "what was reported of a lost log hides a loss of the next",
        "core/log.py",
        "cursor.epoch, cursor.position, cursor.reported = self.epoch, 0, NONE_REPORTED\n",
        "cursor.epoch, cursor.position = self.epoch, 0\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "the floor falls to an older watermark",
        "core/watermarks.py",
        "max(self.floor, self.popitem(last=False)[1])",
        "self.popitem(last=False)[1]",
        ("core/test_watermarks.py",),
    ),
    Mutation(
        "a refusal ends with a blank line",
        "core/wire.py",
        'return b": %b\\n%b" % (reason.encode(), RETRY_LINE % milliseconds)',
        'return b": %b\\n%b\\n" % (reason.encode(), RETRY_LINE % milliseconds)',
        ("core/test_wire.py", "app/test_refusals.py", "app/test_letter.py"),
    ),
    Mutation(
        "last words have no end",
        "core/session.py",
        " or now < self._drained_at)",
        " or True)",
        ("core/test_session.py",),
    ),
    Mutation(
        "a client that is cut off is told as gone",
        "core/session.py",
        "(*_BEGINNING, State.DRAINING, State.GONE)",
        "(*_BEGINNING, State.DRAINING)",
        ("core/test_session.py",),
    ),
    Mutation(
        "eviction leaves no watermark",
        "core/channel_log.py",
        "            self.lost_up_to = entry.sequence\n",
        "            pass\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "a watermark falls where a store tells of an older loss",
        "core/channel_log.py",
        "        if entry.sequence > self.lost_up_to:  # noqa",
        "        if True:  # noqa",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "the watermark of an empty channel is forgotten",
        "core/channel_logs.py",
        "                self._watermarks.keep(log.name, log.lost_up_to)\n",
        "                pass\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "a skipped number is no gap",
        "core/log.py",
        "        if sequence != self.head + 1 and self._follows_all:\n",
        "        if False:\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "bytes are not bounded",
        "core/log.py",
        "            self._shrink(entry)\n",
        "            pass\n",
        ("core/test_log.py", "core/test_kept.py"),
    ),
    Mutation(
        "the newest entry is dropped for its bytes",
        "core/channel_logs.py",
        "            elif first >= newest:\n                return\n",
        "",
        ("core/test_kept.py",),
    ),
    Mutation(
        "age is not bounded",
        "core/channel_log.py",
        "        while self.history and self.history[0].appended_at < oldest:\n",
        "        while False:\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "old entries of a busy channel wait for the next look at all",
        "core/channel_log.py",
        "        while len(history) > self.length or history[0].appended_at < oldest:\n",
        "        while len(history) > self.length:\n",
        ("core/test_kept.py",),
    ),
    Mutation(
        "the last pattern that fits counts",
        "core/retention.py",
        "found = next(fits, self.default)",
        "found = [self.default, *fits][-1]",
        ("core/test_retention.py", "core/test_kept.py"),
    ),
    Mutation(
        "items of channels that were left pile up",
        "core/channel_logs.py",
        "        if len(self._oldest) > 2 * len(self) + 64:\n",
        "        if False:\n",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "an older past is listed as if it were newer",
        "core/log.py",
        "not 0 < log.listed <= log.history[0].sequence",
        "not log.listed",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "all channels are looked at at once",
        "core/channel_logs.py",
        "_SWEPT_AT_ONCE = 200",
        "_SWEPT_AT_ONCE = 200_000",
        ("core/test_kept.py",),
    ),
    Mutation(
        "an entry counts in each of its channels",
        "core/channel_log.py",
        "        return not holders\n",
        "        return True\n",
        ("core/test_kept.py",),
    ),
    Mutation(
        "an entry of two channels is read twice",
        "core/log.py",
        "found = {entry.sequence: entry for entry in entries}",
        "found = {id(entry): entry for entry in entries}",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "a made-up id fetches the whole history",
        "core/log.py",
        "return Start(self.epoch, self.head, reason, is_new=True)",
        "return Start(self.epoch, 0, reason, is_new=True)",
        ("core/test_place.py",),
    ),
    Mutation(
        "a rewound stream begins behind its first event",
        "core/log.py",
        "position = first[0] - 1 if first else self.head",
        "position = first[0] if first else self.head",
        ("core/test_place.py",),
    ),
    Mutation(
        "a rewound stream is told of what was lost before it",
        "core/log.py",
        "reported=NONE_REPORTED if is_whole else reported",
        "reported=NONE_REPORTED",
        ("core/test_place.py",),
    ),
    Mutation(
        "what lies beyond the head is read",
        "core/channel_log.py",
        "return found if self.top <= head else [entry for entry in found if entry.sequence <= head]",
        "return found",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "the head passes what is proved",
        "core/log.py",
        "self.head = sequence if proven is None else max(self.head, min(sequence, proven))",
        "self.head = max(self.head, sequence)",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "a channel is read further back than it is here",
        "core/log.py",
        "            elif log.begins > after:\n                return None\n",
        "",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "kept values are shown with their ids",
        "core/log.py",
        'wire[wire.index(b"\\n") + 1 :] for wire in wires',
        "wire for wire in wires",
        ("core/test_kept.py", "unit/test_introduction.py"),
    ),
    Mutation(
        "a newcomer gets a value twice",
        "core/log.py",
        " if e.sequence <= position)",
        ")",
        ("core/test_kept.py",),
    ),
    Mutation(
        "a newcomer does without a channel that is not here",
        "core/log.py",
        "            elif not self._follows_all:\n                return None\n",
        "",
        ("core/test_followed_log.py", "unit/test_hub.py", "unit/test_introduction.py"),
    ),
    Mutation(
        "kept values that were read are not read again",
        "core/log.py",
        "            self._kept = None\n            self.has_closed |= entry.closes\n",
        "            self.has_closed |= entry.closes\n",
        ("core/test_kept.py",),
    ),
    Mutation(
        "a replaced value stays in its old place",
        "core/channel_log.py",
        "            self.kept.pop(key, None)  # so that the order is that of the numbers\n",
        "            pass\n",
        ("core/test_kept.py",),
    ),
    Mutation(
        "a late past replaces a newer value",
        "core/channel_log.py",
        "for key, entry in self.kept.items() if entry.sequence > moment)",
        "for key, entry in ())",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "what a store has dropped and is still here counts as lost",
        "core/channel_log.py",
        "        self.lost_up_to = max(self.lost_up_to, lost_up_to)\n",
        "        self.lost_up_to = max(self.lost_up_to, past.lost_up_to)\n",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "a forgotten value stays",
        "core/channel_log.py",
        "            self.kept.pop(key, None)\n            return\n",
        "            return\n",
        ("core/test_kept.py",),
    ),
    Mutation(
        "an older closing closes a channel again",
        "core/channel_log.py",
        "        if self.top <= moment and self.closed != past.closed:\n",
        "        if self.closed != past.closed:\n",
        ("core/test_followed_log.py",),
    ),
    Mutation(
        "a closed channel is closed for ever",
        "core/channel_log.py",
        "        if self.closed and self.closed_at < oldest:\n",
        "        if False:\n",
        ("core/test_kept.py",),
    ),
    Mutation(
        "a closed channel that is forgotten keeps its values",
        "core/channel_log.py",
        "        self.kept, self.closed = _NO_VALUES, 0\n",
        "        self.closed = 0\n",
        ("core/test_kept.py",),
    ),
    Mutation(
        "one closed channel ends a stream of several",
        "core/log.py",
        "            if log is None or not log.closed:\n                return None\n",
        "            if log is None or not log.closed:\n                continue\n",
        ("core/test_kept.py", "unit/test_introduction.py"),
    ),
    Mutation(
        "a hole takes the kept values along",
        "core/channel_logs.py",
        "            log.history.clear()\n            log.listed,",
        "            log.history.clear()\n            log.kept = {}\n            log.listed,",
        ("core/test_kept.py",),
    ),
    Mutation(
        "an idempotency key counts in all channels",
        "core/messages.py",
        'return f"{channels[0]} {idempotency_key}"',
        "return idempotency_key",
        ("core/test_messages.py",),
    ),
]

PLATFORM = [
    Mutation(
        "a lock that another greenlet holds never gives way",
        "platform/locks.py",
        "backend.is_preemptive or not backend.give_way()",
        "False",
        ("platform/test_locks.py",),
    ),
    Mutation(
        "what is posted in the last moment of a section waits for the next",
        "platform/locks.py",
        "        self._release()\n        if self._posted:\n            self._run_posted()\n\n    def run(",
        "        self._holder = None\n        self._release()\n\n    def run(",
        ("platform/test_locks.py",),
    ),
    Mutation(
        "a lock is never taken over from a section that a signal handler ended",
        "platform/locks.py",
        "                holder.clear()  # refused as long as the frame runs, in this greenlet or another\n",
        "                return False\n",
        ("platform/test_locks.py",),
    ),
    Mutation(
        "a child keeps its parent's values",
        "platform/fork.py",
        "        values.forget()\n",
        "        pass\n",
        ("app", "platform", "servers/test_forks.py"),
    ),
    Mutation(
        "what is dropped stays open",
        "platform/fork.py",
        "    finalize(owner, end)\n",
        "    end.owner = owner\n",
        ("platform/test_fork.py", "app/test_publisher.py"),
    ),
    Mutation(
        "a child closes at its end what its parent opened",
        "platform/fork.py",
        "        if reference() is None or os.getpid() == process:\n",
        "        if True:\n",
        ("platform/test_fork.py",),
    ),
    Mutation(
        "nothing but gevent takes poll away",
        "platform/polling.py",
        '    patcher = sys.modules.get("eventlet.patcher")\n',
        "    patcher = None\n",
        ("platform/test_polling.py",),
    ),
    Mutation(
        "a child's copy of a greenlet goes on",
        "platform/greenlets.py",
        "os.register_at_fork(after_in_child=_park_copies)\n",
        "",
        ("servers/test_forks.py", "platform"),
    ),
    Mutation(
        "a loop over many greenlets takes no turns",
        "platform/greenlets.py",
        "                self.give_way()\n                until",
        "                until",
        ("platform", "servers/test_direct.py"),
    ),
    Mutation(
        "pauses of those who lost the same store are equal",
        "platform/backoff.py",
        "        yield random.uniform(pause / 2, pause)\n",
        "        yield pause\n",
        ("platform/test_backoff.py",),
    ),
    Mutation(
        "pauses do not grow",
        "platform/backoff.py",
        "        pause = min(pause * 2, _LONGEST_SECONDS)\n",
        "",
        ("platform/test_backoff.py",),
    ),
    Mutation(
        "a server of one thread whose name is unknown is taken for one of many",
        "platform/server.py",
        "        kind = replace(kind, threads=lambda _: 1)\n",
        "        pass\n",
        ("platform/test_server.py",),
    ),
    Mutation(
        "a server that does not say how many threads it has is taken for one without a bound",
        "platform/server.py",
        "        GUESSED_THREADS if is_guessed else threads,\n",
        "        threads,\n",
        ("platform/test_server.py",),
    ),
    Mutation(
        "a stream on an unknown server has no end",
        "platform/server.py",
        "STREAM_SECONDS if kind.waits_for_streams or",
        "STREAM_SECONDS if",
        ("platform/test_server.py",),
    ),
    Mutation(
        "a worker of a user's own class is not known by what it is derived from",
        "platform/server_kinds.py",
        "in type(worker).__mro__ if",
        "in type(worker).__mro__[:1] if",
        ("platform/test_server.py",),
    ),
    Mutation(
        "an ASGI bridge is not known below the app",
        "platform/server_kinds.py",
        "        frame = frame.f_back\n",
        "        break\n",
        ("servers/test_foreign_servers.py::test_bridge_of_asgi_is_refused",),
    ),
]

BUS = [
    Mutation(
        "what a finalizer publishes within a publish stays behind",
        "bus/memory.py",
        "            self._lock.post(self._hand_on_unsent)\n",
        "            pass\n",
        ("bus/test_memory.py", "app/test_interruptions.py"),
    ),
    Mutation(
        "log says what ended the connection, and not why there is no other one",
        "bus/follower.py",
        'if was.state != "up" and not self._is_told:',
        "if not self._is_told:",
        ("bus/test_sqlite_files.py",),
    ),
    Mutation(
        "child takes the answer to its parent's publish",
        "bus/redis/pool.py",
        "        keep_from_children(connection)\n",
        "",
        ("bus/test_redis_faults.py::test_child_takes_no_answer_that_its_parent_waits_for",),
    ),
    Mutation(
        "Redis removes the history of a channel, and nobody is told",
        "bus/redis/tail_script.py",
        "        lost = state.history\n",
        "",
        ("bus/test_redis_channels.py",),
    ),
    Mutation(
        "an event that is too large for messages is not asked for",
        "bus/redis/reader.py",
        "self._rung.add(channel)",
        "pass",
        ("bus/test_redis_channels.py",),
    ),
    Mutation(
        "a head is told before what came up to it",
        "bus/redis/reader.py",
        "        came, self._entries = self._entries, []\n        self._head = head_now\n",
        "        came, self._entries = [], []\n        self._head = head_now\n",
        ("bus/test_redis_channels.py",),
    ),
    Mutation(
        "a channel that the store forgot counts as new",
        "bus/redis/places_script.py",
        "floor = math.max(floor, tonumber(popped[2]))",
        "floor = floor",
        ("bus/test_redis_channels.py",),
    ),
    Mutation(
        "a server that has forgotten numbers goes on with its log",
        "bus/redis/script.py",
        "if epoch == known_epoch and known_head > head then",
        "if false then",
        ("bus/test_redis_channels.py", "bus/test_redis_hostile.py"),
    ),
    Mutation(
        "a stranger's key stops publishing for ever",
        "bus/redis/publish_script.py",
        "if not string.find(problem, 'WRONGTYPE', 1, true) then",
        "if true then",
        ("bus/test_redis_hostile.py",),
    ),
    Mutation(
        "the follower forgets where it was",
        "bus/stored.py",
        "            if epoch != self._epoch:\n",
        "            if True:\n",
        ("unit/test_stored.py",),
    ),
    Mutation(
        "what comes below the head is no loss",
        "bus/chains.py",
        "                if sequence > head and (previous == end or _fits(previous, end, head)):\n",
        "                if previous == end or _fits(previous, end, head):\n",
        ("unit/test_chains.py",),
    ),
    Mutation(
        "a hole in a channel is taken for its end",
        "bus/chains.py",
        "                    broken.add(channel)\n",
        "                    ends[channel] = sequence\n",
        ("unit/test_stored.py",),
    ),
    Mutation(
        "a loss is not told to streams at the head",
        "bus/chains.py",
        "max(past.lost_up_to, head + 1)",
        "max(past.lost_up_to, head)",
        ("unit/test_chains.py",),
    ),
    Mutation(
        "a channel that a store forgot hides what it lost",
        "bus/chains.py",
        "    return end <= ~last <= head if end >= 0 else",
        "    return end <= ~last if end >= 0 else",
        ("unit/test_chains.py",),
    ),
    Mutation(
        "what was read and not handed on is not read again",
        "bus/chains.py",
        "min(_most(end), head)",
        "_most(end)",
        ("unit/test_chains.py",),
    ),
    Mutation(
        "what came before a hole in one read is lost",
        "bus/chains.py",
        "min(_most(ends[channel]), head)",
        "_most(ends[channel])",
        ("unit/test_stored.py",),
    ),
    Mutation(
        "an older copy of a database is taken for the log",
        "bus/sqlite/schema.py",
        'f"{boot_id()} {inode}"',
        "boot_id()",
        ("bus/test_sqlite_hostile.py",),
    ),
    Mutation(
        "a database that was restored stands still",
        "bus/sqlite/database.py",
        "head < known.sequence",
        "head < 0",
        ("bus/test_sqlite_hostile.py",),
    ),
    Mutation(
        "events of many channels are stored faster than old ones go",
        "bus/sqlite/trimming.py",
        "MAX_TRIMMED + 2 * len(rows)",
        "MAX_TRIMMED",
        ("bus/test_contract.py",),
    ),
    Mutation(
        "a command is lost where a log begins",
        "bus/stored.py",
        "Chains({CONTROL_CHANNEL: ~head})",
        "Chains({})",
        ("unit/test_stored.py",),
    ),
    Mutation(
        "a channel is left in the moment in which somebody comes",
        "bus/stored.py",
        "[channel for channel in over if not listener.is_heard(channel)]",
        "list(over)",
        ("unit/test_stored.py",),
    ),
    Mutation(
        "what came beside a lost push is lost",
        "bus/stored.py",
        "            came += entries\n",
        "            came = entries\n",
        ("unit/test_stored.py",),
    ),
    Mutation(
        "an idempotency key is forgotten",
        "bus/memory.py",
        "            self._once[once] = result, now + self._rules.of(channels[0]).seconds\n",
        "            pass\n",
        ("bus/test_contract.py",),
    ),
    Mutation(
        "an idempotency key is forgotten",
        "bus/memory.py",
        "            self._once[once] = result, now + self._rules.of(channels[0]).seconds\n",
        "            pass\n",
        ("bus/test_contract.py",),
    ),
    Mutation(
        "an interrupted closing cannot be repeated",
        "bus/memory.py",
        "            self._states.open_again(channels)\n",
        "            pass\n",
        ("bus/test_memory.py",),
    ),
    Mutation(
        "values that are replaced weigh on",
        "bus/channel_states.py",
        "                self._kept_bytes -= kept.pop(key, 0)\n",
        "                kept.pop(key, 0)\n",
        ("bus/test_memory.py",),
    ),
    Mutation(
        "SQLite: who listens to a channel is not rung",
        "bus/sqlite/doorbells.py",
        "if is_listed or _is_interested(interest, slots):",
        "if is_listed:",
        ("bus/test_doorbell.py",),
    ),
    Mutation(
        "SQLite: everybody is rung",
        "bus/sqlite/doorbells.py",
        "if is_listed or _is_interested(interest, slots):",
        "if True:",
        ("bus/test_doorbell.py",),
    ),
    Mutation(
        "SQLite: one channel's end clears another's interest",
        "bus/sqlite/doorbell.py",
        "            if self._counts[slot] < 1:\n",
        "            if True:\n",
        ("bus/test_doorbell.py",),
    ),
    Mutation(
        "SQLite: a damaged row is an entry",
        "bus/sqlite/rows.py",
        "        if not is_whole:\n            raise ValueError(_DAMAGED)\n",
        "",
        ("bus/test_sqlite_hostile.py",),
    ),
    Mutation(
        "SQLite: what is gone from the middle of a channel is no loss",
        "bus/sqlite/pages.py",
        "            if previous > before:\n                lost = max(lost, previous)\n",
        "",
        ("bus/test_sqlite_channels.py", "bus/test_sqlite_hostile.py"),
    ),
    Mutation(
        "SQLite: a value mends an event that is gone",
        "bus/sqlite/pages.py",
        "if not is_next and bound(history_before[place]) <= last_of_history.get(channel, head):",
        "if not is_next:",
        ("bus/test_sqlite_channels.py",),
    ),
    Mutation(
        "SQLite: the last number of a channel goes with its entries",
        "bus/sqlite/trimming.py",
        "        if not changed.rowcount:\n",
        "        if False:\n",
        ("bus/test_sqlite_channels.py",),
    ),
    Mutation(
        "SQLite: forgotten names have no floor",
        "bus/sqlite/trimming.py",
        "log.floor = max(log.floor, bound(last) if is_number(last, log.head) else log.head)",
        "pass",
        ("bus/test_sqlite_channels.py",),
    ),
    Mutation(
        "SQLite: a channel keeps any number of values",
        "bus/sqlite/kept.py",
        "            if row.kept >= rules.max_kept:\n",
        "            if False:\n",
        ("bus/test_sqlite_channels.py",),
    ),
    Mutation(
        "SQLite: a publisher believes what it knew before others wrote",
        "bus/sqlite/append.py",
        "known.version != version or ",
        "",
        ("bus/test_sqlite_channels.py", "bus/test_contract.py"),
    ),
]

STREAMS = [
    Mutation(
        "the burst guard does not count bytes",
        "streams/backpressure.py",
        " fanout.current_bytes >= self._max_bytes:\n                return",
        " -1 >= 0:\n                return",
        ("unit/test_backpressure.py",),
    ),
    Mutation(
        "retry without jitter",
        "streams/stream.py",
        "return milliseconds // 2, milliseconds + milliseconds // 2",
        "return milliseconds, milliseconds",
        ("unit/test_stream.py::test_clients_that_stop_together_come_back_apart",),
    ),
    Mutation(
        "refusal without jitter",
        "streams/stream.py",
        "_LATER_MILLISECONDS = (15_000, 60_000)",
        "_LATER_MILLISECONDS = (30_000, 30_000)",
        ("unit/test_stream.py::test_clients_that_stop_together_come_back_apart",),
    ),
    Mutation(
        "heartbeats without jitter",
        "streams/stream.py",
        "options.heartbeat_seconds * random.uniform(0.75, 1)",
        "options.heartbeat_seconds",
        ("unit/test_stream.py::test_heartbeats_come_apart",),
    ),
    Mutation(
        "fan-out without turns",
        "streams/fanout.py",
        "for wakeup in backend.in_turns(self._take()):",
        "for wakeup in self._take():",
        ("unit/test_fanout.py::test_fanout_makes_way_between_its_listeners",),
    ),
    Mutation(
        "fan-out makes no way behind",
        "streams/fanout.py",
        "            backend.give_way()\n            if self._is_notified:",
        "            if self._is_notified:",
        ("unit/test_fanout.py",),
    ),
    Mutation(
        "burst guard off",
        "streams/backpressure.py",
        "        if not fanout.listeners or not self._is_burst(channels, sequence):\n            return\n",
        "        return\n",
        ("unit/test_backpressure.py",),
    ),
    Mutation(
        "guard waits for its own channel alone",
        "streams/backpressure.py",
        "channels = (*channels, *list(fanout.pending), *list(fanout.current))",
        "pass",
        ("unit/test_backpressure.py::test_bytes_are_a_burst_too",),
    ),
    Mutation(
        "guard has no end",
        "streams/backpressure.py",
        "end = min(time.monotonic() + MAX_HOLD_SECONDS, until)",
        "end = min(time.monotonic() + 10, until)",
        ("unit/test_backpressure.py",),
    ),
    Mutation(
        "guard ignores the publish time",
        "streams/backpressure.py",
        "end = min(time.monotonic() + MAX_HOLD_SECONDS, until)",
        "end = time.monotonic() + MAX_HOLD_SECONDS",
        ("unit/test_backpressure.py",),
    ),
    Mutation(
        "abandoned never reclaimed",
        "streams/stream.py",
        "                    self._give_back()\n                except ValueError",
        "                    pass\n                except ValueError",
        ("unit/test_stream.py::test_stream_whose_server_forgot_it_is_taken_back",),
    ),
    Mutation(
        "drain without shuffle",
        "streams/drain.py",
        "shuffled = random.sample(streams, len(streams))",
        "shuffled = list(streams)",
        ("unit/test_drain.py::test_order_of_the_ends_is_random",),
    ),
    Mutation(
        "drain all at once",
        "streams/drain.py",
        "count = round(DRAIN_SECONDS / TICK_SECONDS)",
        "count = 1",
        ("unit/test_drain.py",),
    ),
    Mutation(
        "drain skips ticks",
        "streams/drain.py",
        "0.9 * TICK_SECONDS",
        "TICK_SECONDS",
        ("unit/test_registry.py::test_streams_end_when_the_server_stops",),
    ),
    Mutation(
        "drain cuts nobody",
        "streams/drain.py",
        "            if now >= self._cut_off_at:\n                stream.cut_off()\n",
        "",
        ("unit/test_drain.py",),
    ),
    Mutation(
        "hole wakes nobody else",
        "streams/hub.py",
        "        if has_hole:\n            fanout.notify_everybody()",
        "        if has_hole:\n            fanout.notify(urgent)",
        ("unit/test_hub.py::test_hole_in_the_numbers_of_this_process_wakes_everybody",),
    ),
    Mutation(
        "last words without a bound",
        "core/session.py",
        "if has_events and (state is not State.DRAINING or has_ended or now < self._drained_at):",
        "if has_events:",
        ("core/test_session.py",),
    ),
    Mutation(
        "slow client is taken for one that takes nothing",
        "streams/stream.py",
        "self._taken_bytes, self.session.taken_at = taken_bytes, now",
        "self._taken_bytes = taken_bytes",
        ("servers/test_stalled.py::test_slow_client_gets_an_event_that_takes_longer_than_a_write_may_wait",),
    ),
    Mutation(
        "silent stream without heartbeat",
        "core/session.py",
        "        if state is State.SILENT:\n            self.happen(Cause.SENT)\n            return "
        "Action.BEAT\n",
        "",
        ("core/test_session.py",),
    ),
    Mutation(
        "heartbeat too late",
        "core/session.py",
        "self._heartbeat_seconds - margin_seconds",
        "self._heartbeat_seconds",
        ("core/test_session.py",),
    ),
    Mutation(
        "hang-up not told",
        "streams/registry.py",
        "                    stream.end(Cause.HANG_UP)",
        "                    pass",
        ("unit/test_registry.py::test_client_that_hangs_up_is_told_at_once",),
    ),
    Mutation(
        "fan-out never rests",
        "streams/fanout.py",
        "                self._wait(own, min(now + now - started, wake_by))",
        "                pass",
        ("unit/test_fanout.py::test_fanout_rests_as_long_as_it_took",),
    ),
    Mutation(
        "fan-out never gathers",
        "streams/fanout.py",
        "            if not backend.is_preemptive:\n",
        "            if False:\n",
        ("unit/test_fanout.py::test_fanout_gathers_while_others_publish",),
    ),
    Mutation(
        "fan-out gathers for ever",
        "streams/fanout.py",
        "        while not self.is_urgent and (now := time.monotonic()) < until:\n            "
        "self._is_notified",
        "        while (now := time.monotonic()) and not self.is_urgent:\n            until = now + 1\n     "
        "       self._is_notified",
        ("unit/test_fanout.py::test_fanout_gathers_for_twenty_milliseconds_at_most",),
    ),
    Mutation(
        "rest has no bound",
        "streams/fanout.py",
        "min(now + now - started, wake_by)",
        "now + now - started",
        ("unit/test_fanout.py::test_fanout_rests_as_long_as_it_took",),
    ),
    Mutation(
        "urgent waits for the rest",
        "streams/fanout.py",
        "        while not self.is_urgent and (left := until - time.monotonic()) > 0:",
        "        while (left := until - time.monotonic()) > 0:",
        ("unit/test_fanout.py",),
    ),
    Mutation(
        "broken wakeup stops the rest",
        "streams/fanout.py",
        '                except Exception:\n                    logger.exception("A stream',
        '                except ZeroDivisionError:\n                    logger.exception("A stream',
        ("unit/test_fanout.py::test_listener_that_cannot_be_woken_keeps_nobody_else_from_it",),
    ),
    Mutation(
        "worker that is added believes to be alone",
        "platform/gunicorn.py",
        'return max(int(worker.cfg.workers), getattr(_master(), "num_workers", None) or 0)',
        "return int(worker.cfg.workers)",
        ("servers/test_workers.py::test_worker_that_is_added_is_warned_of_where_memory_was_chosen",),
    ),
    Mutation(
        "first worker is not looked for",
        "bus/auto.py",
        "        _look_for_loner(folder)\n",
        "        pass\n",
        ("servers/test_workers.py::test_worker_that_is_added_to_a_lone_one_says_how_they_come_together",),
    ),
    Mutation(
        "files that are open already count as free",
        "platform/server.py",
        "return most - open_files - max(_OTHER_FILES, int(most * (1 - _STREAMS_SHARE)))",
        "return int(most * _STREAMS_SHARE)",
        ("servers/test_refusals.py::test_few_open_files_mean_few_streams",),
    ),
    Mutation(
        "place of the route is not checked",
        "extension/blueprint.py",
        "        self._check_place(app, options)\n",
        "",
        ("app/test_blueprint.py::test_prefix_that_makes_no_route_is_refused",),
    ),
    Mutation(
        "route is at no host",
        "extension/blueprint.py",
        '        options.setdefault("host", self.options.get("host"))\n',
        "",
        ("app/test_blueprint.py::test_app_that_matches_hosts_says_where_the_blueprint_answers",),
    ),
    Mutation(
        "abandoned iterable is not counted",
        "streams/iterable.py",
        "        left.add(self)\n",
        "",
        ("unit/test_iterable.py::test_thread_that_waits_is_counted_until_it_ends",),
    ),
    Mutation(
        "ended iterable counts as abandoned",
        "streams/iterable.py",
        "        if self._has_ended:\n            left.discard(self)\n",
        "",
        ("unit/test_iterable.py::test_iterable_that_ends_with_its_stream_is_not_counted",),
    ),
    Mutation(
        "abandoned iterables have no bound",
        "extension/process.py",
        "if len(abandoned.get()) >= self.host.max_streams",
        "if False",
        ("servers/test_streams.py::test_threads_that_clients_have_left_are_counted_and_bounded",),
    ),
    Mutation(
        "drained stream leaves its connection open",
        "streams/stream.py",
        "            self.connection.close_after_answer()\n\n",
        "            pass\n\n",
        ("servers/test_lifecycle.py::test_sigterm_ends_every_stream_and_the_server",),
    ),
    Mutation(
        "iterable runs ahead",
        "streams/iterable.py",
        "while self._given_bytes - self._taken_bytes >= MAX_BATCH_BYTES and not self._is_closed:",
        "while False:",
        ("unit/test_iterable.py::test_iterable_runs_no_further_ahead_than_the_client_reads",),
    ),
    Mutation(
        "iterable result before its last block",
        "streams/iterable.py",
        "        result, blocks = self._result, []\n        while self._ready:\n            "
        "blocks.append(self._ready.popleft())\n",
        "        blocks = []\n        while self._ready:\n            "
        "blocks.append(self._ready.popleft())\n        result = self._result\n",
        ("unit/test_threads.py::test_end_of_an_iterable_never_comes_before_its_last_block",),
    ),
    Mutation(
        "room not told",
        "streams/iterable.py",
        "        if self._room is not None:\n            self._room.wake()\n        return chunk",
        "        return chunk",
        ("unit/test_threads.py::test_iterable_gives_each_item_once_and_waits_for_its_reader",),
    ),
    Mutation(
        "spawned iterable is forgotten",
        "streams/iterable.py",
        "if self._has_begun and self._result is None:",
        "if self._result is None:",
        ("unit/test_iterable.py::test_iterable_that_is_spawned_and_has_not_begun_is_closed",),
    ),
    Mutation(
        "direct: unsent forgotten",
        "streams/direct.py",
        "self._stream.unsent = framed[sent:]",
        'self._stream.unsent = b""',
        ("unit/test_direct.py::test_what_the_socket_does_not_take_is_sent_before_anything_else",),
    ),
    Mutation(
        "direct: overtaking",
        "streams/direct.py",
        "        self._state = _WRITING\n",
        "",
        ("unit/test_direct.py::test_nobody_overtakes_a_write",),
    ),
    Mutation(
        "direct: missed wake",
        "streams/direct.py",
        "                self._is_missed = True\n",
        "",
        ("unit/test_direct.py::test_wake_that_comes_during_a_write_is_not_lost",),
    ),
    Mutation(
        "direct: goes on behind a failure",
        "streams/direct.py",
        "            self._state = _RUNNING\n            self._stream.cut_off()\n",
        "",
        ("unit/test_direct.py::test_source_that_fails_ends_its_stream_and_no_byte_follows",),
    ),
    Mutation(
        "direct: bytes are not counted",
        "streams/direct.py",
        "        self._sent_bytes += len(chunk)\n",
        "",
        ("unit/test_direct.py::test_access_log_counts_what_was_written_directly",),
    ),
    Mutation(
        "direct: sent is no sign of life",
        "streams/direct.py",
        "            self.session.silent_since = looked_at\n",
        "",
        ("unit/test_direct.py::test_sign_of_life_is_written_directly",),
    ),
    Mutation(
        "direct: written beside middleware",
        "streams/direct.py",
        "        if self.is_direct:\n            response = plain",
        "        if True:\n            response = plain",
        ("unit/test_direct.py::test_stream_is_sent_by_the_server_where_it_must_see_the_bytes",),
    ),
    Mutation(
        "place is kept",
        "streams/stream.py",
        "registry.remove(self)\n        if self._place is not None:\n            self._place.give_back()\n",
        "registry.remove(self)\n",
        ("unit/test_stream.py::test_place_is_given_back",),
    ),
    Mutation(
        "post waits for other threads",
        "platform/locks.py",
        "if not self._acquire(False):",
        "if not self._acquire():",
        ("unit/test_threads.py::test_finalizer_that_publishes_stops_no_thread",),
    ),
    Mutation(
        "posted work comes behind later sections",
        "platform/locks.py",
        "        if self._posted:\n            try:\n",
        "        if False:\n            try:\n",
        ("unit/test_hub.py::test_event_that_was_left_comes_before_the_next_one",),
    ),
    Mutation(
        "one broken look stops the heartbeat of all",
        "streams/registry.py",
        "                        except Exception:\n",
        "                        except ZeroDivisionError:\n",
        ("unit/test_registry.py::test_look_that_fails_keeps_the_others_from_nothing",),
    ),
    Mutation(
        "look is not told of the look before",
        "streams/registry.py",
        "stream.look(now, before, look_seconds)",
        "stream.look(now, now, look_seconds)",
        ("unit/test_registry.py",),
    ),
    Mutation(
        "quiet stream keeps its place",
        "streams/subscription.py",
        "        if self.position > self._told:\n",
        "        if False:\n",
        ("unit/test_subscription.py::test_heartbeat_tells_a_place_that_has_moved",),
    ),
    Mutation(
        "a stream does not end after its time",
        "streams/stream.py",
        "        if now >= self._ends_at:\n",
        "        if False:\n",
        ("unit/test_stream.py",),
    ),
    Mutation(
        "all streams of a server end at the same age",
        "streams/stream.py",
        "server.stream_seconds * random.uniform(0.75, 1)",
        "server.stream_seconds",
        ("unit/test_stream.py",),
    ),
    Mutation(
        "a stalled stream is not cut off",
        "core/session.py",
        "            return Cause.STALL if waited >= 0 else None\n",
        "            return None\n",
        ("core/test_session.py",),
    ),
    Mutation(
        "a stream whose server forgot it looks only stalled",
        "core/session.py",
        "                return Cause.CLOSE\n",
        "                return Cause.STALL\n",
        ("core/test_session.py",),
    ),
    Mutation(
        "shutdown ends the streams of all apps",
        "streams/registry.py",
        " if stream.observer is observer]\n",
        "]\n",
        ("app/test_shutdown.py",),
    ),
    Mutation(
        "a pickled Publisher forgets how it encodes",
        "extension/publisher.py",
        "            json=self._json,\n",
        "",
        ("app/test_publisher.py",),
    ),
    Mutation(
        "a stream shares a snapshot that is older than its place",
        "streams/snapshots.py",
        "        return self.log is log and position <= self.head\n",
        "        return self.log is log\n",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "a stream shares a snapshot of the log before",
        "streams/snapshots.py",
        "        return self.log is log and position <= self.head\n",
        "        return position <= self.head\n",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "each stream has a snapshot made",
        "streams/snapshots.py",
        "                if run is not None and run.fits(log, position):\n                    run.streams",
        "                if run is None:\n                    run.streams",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "a snapshot begins before the streams of a fan-out have asked",
        "streams/snapshots.py",
        "            backend.give_way()\n",
        "            pass\n",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "a closed stream is held by the snapshot that it waited for",
        "streams/snapshots.py",
        "                run.streams.pop(wakeup, None)\n",
        "                pass\n",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "a snapshot is made for nobody",
        "streams/snapshots.py",
        "                        queue.pop(channel, None)\n",
        "                        pass\n",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "a function runs for all its channels at once",
        "streams/snapshots.py",
        "        if is_new and count < MAX_RUNS:\n",
        "        if is_new:\n",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "who comes during a run gets no other one",
        "streams/snapshots.py",
        "            if run.channel in self._waiting:\n",
        "            if False:\n",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "a slow snapshot is told by each stream",
        "streams/snapshots.py",
        "        return self.is_told and not is_told\n",
        "        return self.is_told\n",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "a client without its snapshot is told its place",
        "streams/subscription.py",
        "        if self._reason is not None or self._is_new:\n",
        "        if self._reason is not None:\n",
        ("unit/test_snapshots.py", "unit/test_subscription.py"),
    ),
    Mutation(
        "a stream whose snapshot failed goes on",
        "streams/subscription.py",
        '            self.outcome = "failed"\n',
        "",
        ("unit/test_snapshots.py",),
    ),
    Mutation(
        "a shared read of another epoch is taken",
        "streams/subscription.py",
        "            found = log.batches.get((self.channels, before)) if is_same else None\n",
        "            found = log.batches.get((self.channels, before))\n",
        ("unit/test_subscription.py",),
    ),
    Mutation(
        "reset without the place before",
        "streams/subscription.py",
        "        if batch.last:\n            self.position = before\n",
        "",
        ("unit/test_subscription.py::test_reset_says_the_place_before_what_follows",),
    ),
    Mutation(
        "the place of a newcomer is told before its values",
        "streams/subscription.py",
        "return values + wire.ID_BLOCK % place.encode()\n        if",
        "return wire.ID_BLOCK % place.encode() + values\n        if",
        ("unit/test_introduction.py",),
    ),
    Mutation(
        "a reset before kept values proves the place behind them",
        "streams/subscription.py",
        "wire.reset(reason, lost, self._unproven)",
        "wire.reset(reason, lost, place)",
        ("unit/test_introduction.py",),
    ),
    Mutation(
        "a client whose place is not proved knows it before the reset",
        "streams/subscription.py",
        "        if self._reason is not None or self._is_new:\n",
        "        if False:\n",
        ("unit/test_introduction.py", "unit/test_subscription.py"),
    ),
    Mutation(
        "a stream that was cut off before its end is complete",
        "streams/hub.py",
        "        return last is not None and position >= last\n",
        "        return last is not None\n",
        ("unit/test_introduction.py",),
    ),
    Mutation(
        "a stream goes on behind the end of its channel",
        "streams/subscription.py",
        '            self.outcome = "finished"\n',
        "            pass\n",
        ("unit/test_introduction.py",),
    ),
    Mutation(
        "a stream that is written to directly does not end",
        "streams/direct.py",
        "            if source.outcome is not None:\n",
        "            if False:\n",
        ("unit/test_direct.py",),
    ),
    Mutation(
        "what was beyond the head wakes nobody",
        "streams/hub.py",
        "            self.fanout.add(ahead, 0)\n",
        "",
        ("unit/test_hub.py",),
    ),
    Mutation(
        "a command comes twice",
        "streams/hub.py",
        "            if entry.sequence > self._commanded:\n",
        "            if True:\n",
        ("unit/test_hub.py",),
    ),
    Mutation(
        "a missed command is not told",
        "streams/hub.py",
        "        if has_loss:\n            self.on_command(None)\n",
        "",
        ("unit/test_hub.py",),
    ),
    Mutation(
        "a stream that waits for its channels is not woken",
        "streams/hub.py",
        "        self._wake_arrivals()\n\n    def entries_came",
        "\n    def entries_came",
        ("unit/test_hub.py",),
    ),
    Mutation(
        "every stream has the whole past of its channels brought",
        "streams/hub.py",
        "whole=after < (log.head if log is not None else 1)",
        "whole=True",
        ("unit/test_hub.py",),
    ),
    Mutation(
        "a burst is measured by the history of other channels",
        "streams/fanout.py",
        "(limits.get(channel, most) if limits else most)",
        "most",
        ("unit/test_hub.py",),
    ),
]


EXTENSION = [
    Mutation(
        "cursor is the end of the process's own copy",
        "extension/blueprint.py",
        "return str(_process_of(state).bus.head())",
        'return f"{(log := _process_of(state).hub.log).epoch}-{log.head}"',
        ("servers/test_cursors.py",),
    ),
    Mutation(
        "mark without an event is told to nobody",
        "streams/subscription.py",
        "            if self.outcome is not None and self.position > self._told:\n",
        "            if False:\n",
        ("app/test_channel_life.py::test_mark_without_an_event_is_told_to_who_has_the_last_event",),
    ),
    Mutation(
        "client that has everything of a closed channel is streamed to",
        "extension/process.py",
        "        if source.is_complete:\n",
        "        if False:\n",
        ("app/test_channel_life.py",),
    ),
    Mutation(
        "rewind of the query is not read",
        "extension/process.py",
        '(read_rewind(query["rewind"]) or 0) if "rewind" in query else 0',
        "0",
        ("app/test_channel_life.py",),
    ),
    Mutation(
        "rewind of a view does not count",
        "extension/blueprint.py",
        "process.subscribe(asked, names, rewound)",
        "process.subscribe(asked, names)",
        ("app/test_channel_life.py::test_view_rewinds_its_own_stream",),
    ),
    Mutation(
        "rewind of any value passes in silence",
        "extension/blueprint.py",
        '_USUAL = NAMES - {"heartbeat", "rewind"}',
        '_USUAL = NAMES - {"heartbeat"}',
        ("app/test_channel_life.py::test_rewind_of_another_value_is_told",),
    ),
    Mutation(
        "rewind skips a loss without a word",
        "core/log.py",
        "least = max(least, log.lost_up_to)",
        "least = 0",
        ("core/test_rewind.py",),
    ),
    Mutation(
        "close without a name closes the default channel",
        "core/messages.py",
        'Message(check_channels(channels, MAX_CHANNELS_PER_EVENT), b"", None, closes=True)',
        'Message(check_channels(channels or "sse", MAX_CHANNELS_PER_EVENT), b"", None, closes=True)',
        ("app/test_channel_life.py::test_close_names_its_channels",),
    ),
    Mutation(
        "idempotency key counts for all channels",
        "core/messages.py",
        'return f"{channels[0]} {idempotency_key}"',
        "return idempotency_key",
        ("app/test_channel_life.py::test_idempotency_key_counts_for_its_set_of_channels",),
    ),
    Mutation(
        "more patterns than a store takes",
        "extension/config.py",
        "        if len(value) > _MAX_PATTERNS:\n",
        "        if False:\n",
        ("app/test_settings.py",),
    ),
    Mutation(
        "lines of a shell close their channel with the first",
        "operations/cli.py",
        "closes = close and not lines",
        "closes = close",
        ("operations/test_commands.py::test_publish_closes_behind_the_event_or_the_last_line",),
    ),
    Mutation(
        "cors: allowed beside what others allowed",
        "extension/cors.py",
        '    headers.remove("Access-Control-Allow-Origin")\n',
        "",
        ("app/test_cross_origin.py::test_flask_cors_beside_is_overruled_on_the_stream_and_on_marked_views",),
    ),
    Mutation(
        "cors: credentials of others stay",
        "extension/cors.py",
        '    headers.remove("Access-Control-Allow-Credentials")\n',
        "",
        ("app/test_cross_origin.py::test_flask_cors_beside_is_overruled_on_the_stream_and_on_marked_views",),
    ),
    Mutation(
        "cors: allows any origin",
        "extension/cors.py",
        "    if origin in settings.cors_origins:\n        headers[",
        "    if origin:\n        headers[",
        ("app/test_cors.py::test_foreign_origin_is_refused",),
    ),
    Mutation(
        "cors: caches are told once more",
        "extension/cors.py",
        '    if not {"*", "origin"} & {name.lower() for name in names}:\n',
        "    if True:\n",
        ("app/test_cross_origin.py::test_vary_names_each_header_once",),
    ),
    Mutation(
        "cors: preflight of every view",
        "extension/cors.py",
        "    return rule if _is_marked(app, rule.endpoint, asked) else None\n",
        "    return rule\n",
        ("app/test_cross_origin.py::test_preflight_of_other_views_is_left_alone",),
    ),
    Mutation(
        "cors: preflight of the view that OPTIONS meets",
        "extension/cors.py",
        "adapter.match(method=asked, return_rule=True)",
        "adapter.match(return_rule=True)",
        ("app/test_cross_origin.py::test_marked_view_is_called_by_a_configured_origin",),
    ),
    Mutation(
        "cors: preflight for any origin",
        "extension/cors.py",
        '    if request.headers.get("Origin") not in settings.cors_origins:\n',
        "    if False:\n",
        ("app/test_cors.py::test_preflight_of_any_other_is_granted_nothing",),
    ),
    Mutation(
        "cors: preflight repeats anything",
        "extension/cors.py",
        " and _HEADER_NAMES.fullmatch(names):",
        ":",
        ("app/test_cors.py::test_preflight_repeats_nothing_but_names_of_headers",),
    ),
    Mutation(
        "cors: preflight repeats without end",
        "extension/cors.py",
        "len(names) <= _MAX_HEADER_NAMES and ",
        "",
        ("app/test_cors.py::test_preflight_repeats_nothing_but_names_of_headers",),
    ),
    Mutation(
        "cors: mark of a method is not seen",
        "extension/cors.py",
        "for place in (view, views, one))",
        "for place in (view, views))",
        ("app/test_cross_origin.py::test_marked_view_is_called_by_a_configured_origin",),
    ),
    Mutation(
        "cors: the first after_request function",
        "extension/blueprint.py",
        "app.after_request_funcs.setdefault(None, []).insert(0, state.response_goes)",
        "app.after_request_funcs.setdefault(None, []).append(state.response_goes)",
        ("app/test_cross_origin.py",),
    ),
    Mutation(
        "cors: doubles what a view allowed",
        "extension/state.py",
        '            and "Access-Control-Allow-Origin" not in response.headers\n',
        "",
        ("app/test_cross_origin.py::test_flask_cors_beside_answers_preflights_of_other_views",),
    ),
    Mutation(
        "cors: settings of the registration",
        "extension/state.py",
        "        if self.is_frozen and not self.settings.cors_origins:\n",
        "        if not self.settings.cors_origins:\n",
        ("app/test_cross_origin.py::test_marked_view_meets_settings_of_the_first_use",),
    ),
    Mutation(
        "cors: a port of the proxy is foreign",
        "extension/cors.py",
        ', host.removesuffix(":80"), host.removesuffix(":443"))',
        ', host.removesuffix(":80"))',
        ("app/test_cors.py::test_own_origin_is_served_whichever_default_port_a_proxy_writes",),
    ),
    Mutation(
        "cors: any port is one's own",
        "extension/cors.py",
        "    host, name = host.lower(), name.removesuffix(DEFAULT_PORTS[scheme])\n",
        '    host, name = host.lower(), name.partition(":")[0]\n',
        ("app/test_cors.py::test_own_origin_behind_another_host_is_refused_with_the_cure",),
    ),
    Mutation(
        "cors: null is an origin",
        "extension/config.py",
        'if origin in ("null", "file://"):',
        "if False:",
        ("app/test_settings.py::test_setting_of_an_origin_that_would_not_do_says_why",),
    ),
    Mutation(
        "identity: a page of another visitor is not told",
        "extension/identity.py",
        "signer.verify_signature(who, proof) else _OTHER",
        "signer.verify_signature(who, proof) else ()",
        ("app/test_identity.py::test_stream_of_another_visitor_is_told",),
    ),
    Mutation(
        "identity: a page of nobody may be anybody's",
        "extension/identity.py",
        "            if proof not in (NOBODY, UNNAMED, UNKNOWN):\n",
        "            if False:\n",
        ("app/test_identity.py::test_stream_of_another_visitor_is_told",),
    ),
    Mutation(
        "identity: a page without a proof shares somebody's stream",
        "extension/identity.py",
        "        if proof == UNKNOWN or signer is None:\n            return _NOT_SHARED\n",
        "        if proof == UNKNOWN or signer is None:\n            return ()\n",
        ("app/test_identity.py::test_page_without_the_tag_does_not_share_somebodys_stream",),
    ),
    Mutation(
        "identity: a session of nobody known shares",
        "extension/identity.py",
        ' or app.config["SESSION_COOKIE_NAME"] in cookies:',
        ":",
        ("app/test_identity.py::test_nobody_with_a_session_or_authorization_does_not_share",),
    ),
    Mutation(
        "identity: credentials of nobody known share",
        "extension/identity.py",
        '"HTTP_AUTHORIZATION" in request.environ or ',
        "",
        ("app/test_identity.py::test_nobody_with_a_session_or_authorization_does_not_share",),
    ),
    Mutation(
        "identity: a cookie with a token shares",
        "extension/identity.py",
        "        return bool(cookies) and self.identify is None",
        "        return False and self.identify is None",
        ("app/test_identity.py::test_any_cookie_may_be_a_login_where_nobody_says_who_it_is",),
    ),
    Mutation(
        "identity: a session of nobody known joins the stream of nobody",
        "extension/identity.py",
        "            return UNNAMED if has_request_context() and self._may_be_somebody(app) else NOBODY\n",
        "            return NOBODY\n",
        ("app/test_identity.py::test_nobody_with_a_session_is_kept_apart_from_nobody",),
    ),
    Mutation(
        "identity: the proof needs no key",
        "extension/identity.py",
        "    return Signer(keys, ",
        '    return Signer("", ',
        ("app/test_identity.py::test_proof_cannot_be_guessed",),
    ),
    Mutation(
        "identity: a former key proves nothing",
        "extension/identity.py",
        '*(app.config.get("SECRET_KEY_FALLBACKS") or ()), ',
        "",
        ("app/test_identity.py::test_proof_of_a_former_key_counts",),
    ),
    Mutation(
        "identity: a function that fails shares",
        "extension/identity.py",
        'function of @sse.identify failed.")\n            return _NOT_SHARED\n',
        'function of @sse.identify failed.")\n            return ()\n',
        ("app/test_identity.py::test_identify_that_fails_is_said_once_and_shares_nothing",),
    ),
    Mutation(
        "assets: a file of any version is kept for ever",
        "extension/client/assets.py",
        'request.args.get("v") == asset.version',
        'request.args.get("v") is not None',
        ("app/test_client_files.py::test_file_is_kept_for_ever_under_its_version_alone",),
    ),
    Mutation(
        "assets: any file of the folder is sent",
        "extension/client/assets.py",
        " if name in _NAMES else None",
        " if (_FOLDER / name).is_file() else None",
        ("app/test_client_files.py::test_other_file_is_not_found",),
    ),
    Mutation(
        "assets: any name is remembered",
        "extension/client/assets.py",
        "def find_asset(",
        "@cache\ndef find_asset(",
        ("app/test_client_files.py::test_names_that_are_none_are_not_remembered",),
    ),
    Mutation(
        "assets: a cached file gives a cookie",
        "extension/client/assets.py",
        "    response = _CookielessResponse(",
        "    response = Response(",
        ("app/test_client_files.py::test_file_that_caches_keep_carries_no_cookie",),
    ),
    Mutation(
        "assets: gzip and plain are one to a cache",
        "extension/client/assets.py",
        '    response.headers["Vary"] = "Accept-Encoding"\n',
        "",
        ("app/test_client_files.py::test_file_is_compressed_where_that_is_accepted",),
    ),
    Mutation(
        "assets: a value ends its attribute",
        "extension/client/assets.py",
        '="{escape(value)}"',
        '="{value}"',
        ("app/test_client_files.py::test_tag_has_the_nonce_and_escapes_it",),
    ),
    Mutation(
        "assets: the system says the type",
        "extension/client/assets.py",
        '    ".mjs": "text/javascript",\n',
        '    ".mjs": "text/plain",\n',
        ("app/test_client_files.py::test_file_has_the_right_type_everywhere",),
    ),
    Mutation(
        "client: a stream of another visitor is read",
        "extension/client/sse-push.js",
        'get("sse-push-identity") === "other" ? "signed-out" : null',
        'get("sse-push-identity") === "other" ? null : null',
        ("client/test_client.py::test_node_tests_pass[source.test.mjs]",),
    ),
    Mutation(
        "process: the second request goes on unchecked",
        "extension/host.py",
        "        with self._lock:  # two requests",
        "        if True:  # two requests",
        ("app/test_refusals.py",),
    ),
    Mutation(
        "client: a page without a proof does not say so",
        "extension/client/sse-push.js",
        'options.identity = identity ?? "unknown";',
        "options.identity = identity;",
        ("client/test_client.py::test_node_tests_pass[shared.test.mjs]",),
    ),
    Mutation(
        "client: visitors share a worker",
        "extension/client/sse-push.js",
        "JSON.stringify([url, credentials, identity, [",
        "JSON.stringify([url, credentials, [",
        ("client/test_client.py::test_node_tests_pass[shared.test.mjs]",),
    ),
    Mutation(
        "client: tabs with other headers share",
        "extension/client/sse-push.js",
        "identity, [...new Headers(headers)], this.#silent]",
        "identity, this.#silent]",
        ("client/test_client.py::test_node_tests_pass[shared.test.mjs]",),
    ),
    Mutation(
        "client: a POST is sent again after a sleep",
        "extension/client/sse-push.js",
        "        this.#isRepeatable &&\n        this.readyState === OPEN &&",
        "        this.readyState === OPEN &&",
        ("client/test_client.py::test_node_tests_pass[faults.test.mjs]",),
    ),
    Mutation(
        "client: a POST is sent again by a page from the cache",
        "extension/client/sse-push.js",
        "if (!this.facts.attempts || this.#isRepeatable) this.#connect();",
        "if (true) this.#connect();",
        ("client/test_client.py::test_node_tests_pass[faults.test.mjs]",),
    ),
    Mutation(
        "client: a fetch that never settles is waited for",
        "extension/client/sse-push.js",
        "      this.#ended(attempt, kind); // an own fetch(), or headers(), may never settle\n",
        "",
        ("client/test_client.py::test_node_tests_pass[faults.test.mjs]",),
    ),
    Mutation(
        "client: close() in the schedule is forgotten",
        "extension/client/sse-push.js",
        "      if (this.#attempt || this.readyState === CLOSED) return; // the function",
        "      if (false) return; // the function",
        ("client/test_client.py::test_node_tests_pass[faults.test.mjs]",),
    ),
    Mutation(
        "client: a wait that is no number counts",
        "extension/client/sse-push.js",
        "      if (!(wait >= 0)) {",
        '      if (typeof wait !== "number") {',
        ("client/test_client.py::test_node_tests_pass[faults.test.mjs]",),
    ),
    Mutation(
        "client: a refusal keeps its connection",
        "extension/client/sse-push.js",
        "      queueMicrotask(() => response && !response.bodyUsed && drop(attempt));\n",
        "",
        ("client/test_client.py::test_node_tests_pass[faults.test.mjs]",),
    ),
    Mutation(
        "client: a refusal cannot be read",
        "extension/client/sse-push.js",
        "response && !response.bodyUsed && drop(attempt)",
        "drop(attempt)",
        ("client/test_client.py::test_node_tests_pass[faults.test.mjs]",),
    ),
    Mutation(
        "client: undefined is a value",
        "extension/client/sse-push.js",
        ".filter(([, value]) => value != null)",
        "",
        ("client/test_client.py::test_node_tests_pass[faults.test.mjs]",),
    ),
    Mutation(
        "client: a module's copy forgets whose page it is",
        "extension/client/sse-push.js",
        ".dataset.identity ?? globalThis.PushSource?.identity;",
        ".dataset.identity;",
        ("client/test_client.py::test_node_tests_pass[faults.test.mjs]",),
    ),
    Mutation(
        "client: a replacement is shared that is not to be",
        "extension/client/sse-push.js",
        '      if (sharing === "no")',
        '      if (!replaced && sharing === "no")',
        ("client/test_client.py::test_node_tests_pass[shared.test.mjs]",),
    ),
    Mutation(
        "client: a tab that is ahead of the shared stream stays alone",
        "extension/client/sse-push.js",
        "cursor === lastEventId || isAhead(cursor, lastEventId);",
        "cursor === lastEventId;",
        ("client/test_client.py::test_node_tests_pass[shared.test.mjs]",),
    ),
    Mutation(
        "client: a tab that is ahead gets its events again",
        "extension/client/sse-push.js",
        "      if (id !== previous && isAhead(this.lastEventId, id)) return;",
        "",
        ("client/test_client.py::test_node_tests_pass[shared.test.mjs]",),
    ),
    Mutation(
        "client: a new tab does not get the values that channels keep",
        "extension/client/sse-push.js",
        "        kept: () => (this.isLate = true),",
        "        kept: () => {},",
        ("client/test_client.py::test_node_tests_pass[shared.test.mjs]",),
    ),
    Mutation(
        "tabs that share a stream do not hear that a channel keeps values",
        "core/log.py",
        "            wires.insert(0, KEPT)  # here",
        "            pass  # here",
        ("app/test_snapshot.py::test_stream_says_that_a_channel_keeps_values",),
    ),
    Mutation(
        "tabs that share a stream do not hear that it rewinds",
        "extension/process.py",
        "        if rewind or (snapshots is not None",
        "        if (snapshots is not None",
        ("app/test_snapshot.py::test_response_says_that_it_begins_with_a_snapshot_or_the_past",),
    ),
    Mutation(
        'a "false" closes a channel',
        "core/messages.py",
        "if value is not True and value is not False:",
        "if False:",
        ("core/test_messages.py::test_message_that_cannot_be_sent_is_refused",),
    ),
    Mutation(
        "a snapshot sees the request that asked first",
        "extension/snapshot.py",
        "        return Context().run(self._make, number, channel)\n",
        "        return self._make(number, channel)\n",
        ("app/test_snapshot.py::test_function_sees_nothing_of_who_calls_it",),
    ),
    Mutation(
        "a snapshot may be of any size",
        "extension/snapshot.py",
        "        if len(block) > self._max_event_bytes:\n",
        "        if False:\n",
        ("app/test_snapshot.py",),
    ),
    Mutation(
        "an event of a snapshot moves the place",
        "extension/snapshot.py",
        "    if item.id is not None:\n",
        "    if False:\n",
        ("app/test_snapshot.py",),
    ),
    Mutation(
        "the last snapshot function counts",
        "extension/snapshot.py",
        "        for number, (pattern, _, _) in enumerate(self._functions.registered):\n",
        "        for number, (pattern, _, _) in reversed([*enumerate(self._functions.registered)]):\n",
        ("app/test_snapshot.py",),
    ),
]

MUTATIONS = [*CORE, *PLATFORM, *BUS, *STREAMS, *EXTENSION]


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for, print one line each and the score; 0 when all were noticed."""
    options = _parse(arguments)
    chosen = [mutation for mutation in MUTATIONS if options.only in mutation.name]
    if options.list:
        for mutation in chosen:
            print(f"{mutation.file}: {mutation.name}")
        return 0
    broken = [problem for mutation in chosen if (problem := _problem(mutation))]
    for problem in broken:
        print(problem)
    if options.seconds is not None:
        random.shuffle(chosen)
    until = None if options.seconds is None else time.monotonic() + options.seconds
    results: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        if until is None and (red := _red_before(Path(folder) / "whole", chosen)):
            print(f"error      these are red without any mutation:\n{red}")
            return 1
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            jobs = [
                pool.submit(_try, mutation, Path(folder) / str(number), until)
                for number, mutation in enumerate(chosen)
                if not _problem(mutation)
            ]
            for job in concurrent.futures.as_completed(jobs):
                mutation, result = job.result()
                if result is not None:
                    results[mutation.name] = result
                    print(f"{result:10} {mutation.file}: {mutation.name}", flush=True)
    noticed = sum(result.startswith("noticed") for result in results.values())
    left = len(chosen) - len(results) - len(broken)
    print(f"{noticed} of {len(results)} noticed" + (f", {left} not tried" if left else ""))
    return 1 if broken or noticed < len(results) else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", default="", metavar="WORDS", help="those with these words in their name")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--seconds", type=float, help="begin no more after this time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    return parser.parse_args(arguments)


def _problem(mutation: Mutation) -> str | None:
    """Return why a mutation is none: whoever changes its line changes it too."""
    path = ROOT / PACKAGE / mutation.file
    count = path.read_text(encoding="utf-8").count(mutation.text) if path.is_file() else 0
    if count != 1:
        return f"error      {mutation.file}: {mutation.name}: its text is there {count} times, not once"
    missing = [test for test in mutation.tests if not (ROOT / "tests" / test.partition("::")[0]).exists()]
    return f"error      {mutation.file}: {mutation.name}: no {missing} in tests" if missing else None


def _red_before(copy: Path, mutations: Iterable[Mutation]) -> str:
    """Return what the tests say that fail in an unchanged copy: they would notice everything."""
    _copy_tree(copy)
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    # What a folder holds is run once, though a mutation names a file in it.
    tests = [test for test in tests if not {str(parent) for parent in Path(test).parents} & set(tests)]
    code, output = _run(copy, tests, ALL_SECONDS)
    shutil.rmtree(copy, ignore_errors=True)
    return output[-3000:] if code else ""


def _try(mutation: Mutation, copy: Path, until: float | None) -> tuple[Mutation, str | None]:
    """Apply one mutation to a copy of the tree, and run its tests there."""
    if until is not None and time.monotonic() >= until:
        return mutation, None
    _copy_tree(copy)
    path = copy / PACKAGE / mutation.file
    path.write_text(path.read_text(encoding="utf-8").replace(mutation.text, mutation.replacement), "utf-8")
    try:
        code, output = _run(copy, mutation.tests, TEST_SECONDS)
    except subprocess.TimeoutExpired:
        return mutation, "noticed by hanging"
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    if code == 0:
        return mutation, "SURVIVED"
    return mutation, "noticed" if code == 1 else f"error\n{output[-2000:]}"


def _copy_tree(copy: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "_build", "build")
    shutil.copytree(ROOT, copy, ignore=ignored)


def _run(copy: Path, tests: Iterable[str], seconds: float) -> tuple[int, str]:
    """Run tests in a copy, for so long at most; return pytest's exit code and what it said."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-n0",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
    ]
    process = subprocess.Popen(
        [*command, *(f"tests/{test}" for test in tests)],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, output


if __name__ == "__main__":
    sys.exit(main())
