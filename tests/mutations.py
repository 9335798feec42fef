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
        "eviction by length leaves no watermark",
        "core/log.py",
        "        kept.watermark = entry.sequence\n",
        "",
        ("core/test_log.py",),
    ),
    Mutation(
        "eviction by age or size leaves no watermark",
        "core/log.py",
        "            kept.watermark = sequence\n",
        "",
        ("core/test_log.py",),
    ),
    Mutation(
        "the watermark of an empty channel is forgotten",
        "core/log.py",
        "                self._watermarks.keep(channel, sequence)\n",
        "                pass\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "the oldest watermarks are forgotten without a floor",
        "core/watermarks.py",
        "self.floor = max(self.floor, self.popitem(last=False)[1])",
        "self.popitem(last=False)",
        ("core/test_watermarks.py", "core/test_log.py"),
    ),
    Mutation(
        "a skipped number is no gap",
        "core/log.py",
        "        if sequence != self.head + 1:\n",
        "        if False:\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "a number may come twice",
        "core/log.py",
        "        if sequence <= self.head:\n",
        "        if False:\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "bytes are not bounded",
        "core/log.py",
        "        while self.size_bytes > self._max_bytes and len(self._entries) > 1:\n",
        "        while False:\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "age is not bounded",
        "core/log.py",
        "            if self._oldest_at >= now - self._seconds:\n",
        "            if True:\n",
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
        "core/log.py",
        "        if found is None or found[0].lost:\n",
        "        if found is None:\n",
        ("core/test_log.py", "core/test_log_cache.py"),
    ),
    Mutation(
        "a shared read of another epoch is taken",
        "core/log.py",
        "        if cursor.epoch != self.epoch:\n            return None\n",
        "",
        ("core/test_log.py", "core/test_log_cache.py"),
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
        "an entry of two channels is read twice",
        "core/log.py",
        "sorted(set(entries), key=_sequence, reverse=True)",
        "sorted(entries, key=_sequence, reverse=True)",
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
        "a made-up id fetches the whole history",
        "core/log.py",
        'Start(self.epoch, self.head, "malformed")',
        'Start(self.epoch, 0, "malformed")',
        ("core/test_place.py",),
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
]

BUS = [
    Mutation(
        "a key is forgotten",
        "bus/memory.py",
        "            self._keys[key] = (result, now)\n",
        "            pass\n",
        ("bus/test_contract.py",),
    ),
    Mutation(
        "what a finalizer publishes within a publish stays behind",
        "bus/memory.py",
        "            self._lock.post(self._hand_on_unsent)\n",
        "            pass\n",
        ("bus/test_memory.py", "app/test_interruptions.py"),
    ),
    Mutation(
        "the follower forgets where it was",
        "bus/follower.py",
        "        if reader.epoch() == self._epoch:\n",
        "        if True:\n",
        ("bus/test_contract.py",),
    ),
]

STREAMS = [
    Mutation(
        "retry: has no jitter",
        "streams/stream.py",
        "random.randint(*self._retry_range())",
        "self._options.retry_milliseconds",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "heartbeats have no jitter",
        "streams/stream.py",
        "options.heartbeat_seconds * random.uniform(0.75, 1)",
        "options.heartbeat_seconds",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "clients that are refused come back together",
        "streams/stream.py",
        "random.randint(low, high)",
        "low",
        ("unit", "app/test_refusals.py"),
    ),
    Mutation(
        "abandoned streams are never reclaimed",
        "streams/stream.py",
        "            if found is Look.ABANDONED:\n",
        "            if False:\n",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "the fan-out takes no turns",
        "streams/fanout.py",
        "backend.in_turns(self._take())",
        "self._take()",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "the fan-out never gathers",
        "streams/fanout.py",
        "            if not backend.is_preemptive:\n",
        "            if False:\n",
        ("unit/test_fanout.py",),
    ),
    Mutation(
        "the fan-out never rests",
        "streams/fanout.py",
        "                self._wait(own, min(now + now - started, wake_by))\n",
        "                pass\n",
        ("unit/test_fanout.py",),
    ),
    Mutation(
        "the burst guard is off",
        "streams/backpressure.py",
        "        if not fanout.listeners or not self._is_burst(channels, sequence):\n            return\n",
        "        return\n",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "the burst guard does not count bytes",
        "streams/backpressure.py",
        " fanout.current_bytes >= self._max_bytes:\n                return",
        " -1 >= 0:\n                return",
        ("unit/test_backpressure.py",),
    ),
    Mutation(
        "a hole in the numbers wakes nobody else",
        "streams/hub.py",
        "        if has_hole:\n",
        "        if False:\n",
        ("unit/test_hub.py",),
    ),
    Mutation(
        "the drain does not shuffle",
        "streams/drain.py",
        "random.sample(streams, len(streams))",
        "list(streams)",
        ("unit",),
    ),
    Mutation(
        "the drain cuts nobody off",
        "streams/drain.py",
        "                stream.cut_off()\n",
        "                pass\n",
        ("unit",),
    ),
    Mutation(
        "a hang-up is not told",
        "streams/registry.py",
        "                    stream.end(Cause.HANG_UP)\n",
        "                    pass\n",
        ("unit", "app/test_kernel_timeout.py", "servers/test_stalled.py"),
    ),
    Mutation(
        "an iterable runs ahead without bound",
        "streams/iterable.py",
        "            self._room.wait()\n",
        "            break\n",
        ("unit", "app/test_response.py"),
    ),
    Mutation(
        "what a socket did not take is forgotten",
        "streams/direct.py",
        "        self._stream.unsent = framed[sent:]\n",
        "",
        ("unit", "servers/test_direct.py"),
    ),
    Mutation(
        "a wake-up overtakes a direct write",
        "streams/direct.py",
        "        self._state = _WRITING\n",
        "",
        ("unit", "servers/test_direct.py"),
    ),
]

MUTATIONS = [*CORE, *PLATFORM, *BUS, *STREAMS]


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
    code, output = _run(copy, tests)
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
        code, output = _run(copy, mutation.tests)
    except subprocess.TimeoutExpired:
        return mutation, "noticed by hanging"
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    if code == 0:
        return mutation, "SURVIVED"
    return mutation, "noticed" if code == 1 else f"error\n{output[-2000:]}"


def _copy_tree(copy: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "docs", "build")
    shutil.copytree(ROOT, copy, ignore=ignored)


def _run(copy: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Run tests in a copy; return pytest's exit code and what it said."""
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
        output, _ = process.communicate(timeout=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, output


if __name__ == "__main__":
    sys.exit(main())
