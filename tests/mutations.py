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
from pathlib import Path

__all__ = ["MUTATIONS", "Mutation", "main"]

ROOT = Path(__file__).parents[1]
PACKAGE = "flask_sse_push"

TEST_SECONDS = 120
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
        "        ring.watermark = entry.sequence\n",
        "",
        ("core/test_log.py",),
    ),
    Mutation(
        "eviction of a channel's last entry leaves no watermark",
        "core/log.py",
        "            self._watermarks[channel] = entry.sequence\n",
        "",
        ("core/test_log.py",),
    ),
    Mutation(
        "a skipped number is no gap",
        "core/log.py",
        "        if entry.sequence != self.head + 1:\n",
        "        if False:\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "a number may come twice",
        "core/log.py",
        "        if entry.sequence <= self.head:\n",
        "        if False:\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "bytes are not bounded",
        "core/log.py",
        "            self.size_bytes > self._max_bytes\n",
        "            False\n",
        ("core/test_log.py",),
    ),
    Mutation(
        "age is not bounded",
        "core/log.py",
        "entry.appended_at < oldest:",
        "entry.appended_at < -1:",
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
        ("core/test_log.py",),
    ),
    Mutation(
        "a shared read is kept behind a new entry",
        "core/log.py",
        "        if self._reads:\n            self._forget_reads()\n",
        "",
        ("core/test_log.py",),
    ),
    Mutation(
        "a loss is told again with each read",
        "core/log.py",
        "            cursor.forgiven = {channel: self.watermark(channel) for channel in cursor.channels}\n",
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
        ("core",),
    ),
    Mutation(
        "a refusal ends with a blank line",
        "core/wire.py",
        'return b": %b\\n%b" % (reason.encode(), retry_line(milliseconds))',
        'return b": %b\\n%b\\n" % (reason.encode(), retry_line(milliseconds))',
        ("core", "app/test_refusals.py", "app/test_letter.py"),
    ),
]

PLATFORM = [
    Mutation(
        "a lock that another greenlet holds never gives way",
        "platform/locks.py",
        "        while not backend.is_preemptive and lock.locked() and backend.give_way():\n         "
        "   pass\n",
        "",
        ("platform", "app/test_interruptions.py", "servers/test_direct.py"),
    ),
    Mutation(
        "what is posted in the last moment of a section waits for ever",
        "platform/locks.py",
        "        if self._posted:\n            self._run_posted()\n",
        "",
        ("platform",),
    ),
    Mutation(
        "a child keeps its parent's values",
        "platform/fork.py",
        "        values.forget()\n",
        "        pass\n",
        ("platform", "app"),
    ),
]

BUS = [
    Mutation(
        "pauses of those who lost the same store are equal",
        "bus/follower.py",
        "        yield random.uniform(pause / 2, pause)\n",
        "        yield pause\n",
        ("bus/test_contract.py", "platform", "bus/test_redis_time.py"),
    ),
    Mutation(
        "pauses do not grow",
        "bus/follower.py",
        "        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)\n",
        "        pass\n",
        ("bus/test_contract.py", "platform", "bus/test_redis_time.py"),
    ),
    Mutation(
        "a key is forgotten",
        "bus/memory.py",
        "                        self._keys[key] = (accepted, now)\n",
        "                        pass\n",
        ("bus/test_contract.py", "app/test_publish.py"),
    ),
]

STREAMS = [
    Mutation(
        "retry: has no jitter",
        "streams/stream.py",
        "random.uniform(*_retry_range(milliseconds))",
        "milliseconds",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "heartbeats have no jitter",
        "streams/stream.py",
        "settings.heartbeat_seconds * random.uniform(0.75, 1)",
        "settings.heartbeat_seconds",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "the fan-out takes no turns",
        "streams/fanout.py",
        "in_turns(backend, bells)",
        "bells",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "the burst guard is off",
        "streams/hub.py",
        "        if not self._burst_in(channels, sequence):\n            return\n",
        "        return\n",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "abandoned streams are never reclaimed",
        "streams/heartbeat.py",
        "            stream.abandon()\n",
        "            pass\n",
        ("unit/test_streams.py",),
    ),
    Mutation(
        "the drain does not shuffle",
        "streams/heartbeat.py",
        "random.sample(streams, len(streams))",
        "streams",
        ("unit",),
    ),
    Mutation(
        "a hole in the numbers wakes nobody else",
        "streams/hub.py",
        "            if entry.sequence != log.head + 1:\n",
        "            if False:\n",
        ("unit",),
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


def _try(mutation: Mutation, copy: Path, until: float | None) -> tuple[Mutation, str | None]:
    """Apply one mutation to a copy of the tree, and run its tests there."""
    if until is not None and time.monotonic() >= until:
        return mutation, None
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "docs", "benchmarks", "build")
    shutil.copytree(ROOT, copy, ignore=ignored)
    (copy / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    path = copy / PACKAGE / mutation.file
    path.write_text(path.read_text(encoding="utf-8").replace(mutation.text, mutation.replacement), "utf-8")
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
        [*command, *(f"tests/{test}" for test in mutation.tests)],
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
        return mutation, "noticed, by hanging"
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    if process.returncode == 0:
        return mutation, "SURVIVED"
    return mutation, "noticed" if process.returncode == 1 else f"error\n{output[-2000:]}"


if __name__ == "__main__":
    sys.exit(main())
