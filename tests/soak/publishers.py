"""
A process that publishes, one event after the other, and writes down what it was told: ``python -m
tests.soak.publishers``.

Over HTTP it is one more visitor of the app; with the URL of a bus it is a worker of its own, without any app.
Events are counted, so that each text is published once; with ``--once`` an event whose fate is unknown is
repeated under its idempotency key. With ``--runs`` it fills a channel with some events, closes it, and begins
the next one. The end of standard input ends it.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
from urllib.parse import urlsplit

from flask_sse_push.errors import BusUnavailable, ChannelClosed
from tests.soak.channels import is_kept, run_of
from tests.soak.record import Recorder, shorten
from tests.support import FACTOR

__all__ = ["Target", "is_unknown", "main", "publish"]

MAX_TRIES = 4
_PAUSE_SECONDS = 0.2
_HTTP_TIMEOUT_SECONDS = 30.0 * FACTOR
_KEYS = 20
_RUN_LENGTH = 2, 8


def is_unknown(message):
    """
    Say whether an error leaves open if the event was stored. (``BusUnavailable`` says so where it does.)
    """
    return "may have been stored" in message


class Failed(Exception):
    """It was not published, or nobody knows."""

    def __init__(self, message, unknown):
        super().__init__(message)
        self.unknown = unknown


class _Http:
    seconds = None
    """What the last call took in the server; ``None`` where the server did not say."""

    def __init__(self, url):
        self._parts = urlsplit(url)

    def do(self, order):
        self.seconds = None
        connection = http.client.HTTPConnection(
            self._parts.hostname, self._parts.port, timeout=_HTTP_TIMEOUT_SECONDS
        )
        try:
            try:
                connection.connect()
            except OSError as error:
                raise Failed(f"{type(error).__name__}: {error}", unknown=False) from None
            try:
                connection.request(
                    "POST", self._parts.path, json.dumps(order), {"Content-Type": "application/json"}
                )
                response = connection.getresponse()
                text = response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                raise Failed(f"{type(error).__name__}: {error}", unknown=True) from None
        finally:
            connection.close()
        if response.status in (200, 409, 503):
            # How long a connection waits for a worker, when all of them begin anew, is not the bus' affair.
            answer = json.loads(text)
            self.seconds = answer["seconds"]
            if "id" in answer:
                return answer["id"]
            raise Failed(answer["error"], is_unknown(answer["error"]))
        raise Failed(f"status {response.status}: {text[:200]}", unknown=True)

    def close(self):
        """Each event has a connection of its own."""


class _Bus:
    seconds = None
    """The time that passes here is what counts."""

    def __init__(self, url):
        from flask_sse_push.extension.publisher import Publisher

        self._publisher = Publisher(url)

    def do(self, order):
        order = dict(order)
        try:
            match order.pop("do"):
                case "publish":
                    return self._publisher.publish(**order)
                case "close":
                    return self._publisher.close_channel(*order["channel"])
                case "forget":
                    return self._publisher.forget(order["channel"], order["key"])
        except (BusUnavailable, ChannelClosed) as error:
            raise Failed(str(error), is_unknown(str(error))) from None

    def close(self):
        self._publisher.close()


def Target(url):
    """Return what publishes to a URL."""
    return _Http(url) if url.startswith("http://") else _Bus(url)


def publish(target, recorder, publisher, n, order, *, tries=1):
    """
    Do one thing, in several tries where that is asked for. Returns whether it was acknowledged.

    Args:
        order (dict): ``do`` is ``"publish"``, ``"close"`` or ``"forget"``; the rest are its arguments.
    """
    told = {"channels": order["channel"]}
    told |= {name: order[name] for name in ("do", "key", "close", "idempotency_key") if name in order}
    if "data" in order:
        told["data"] = shorten(order["data"])
    for number in range(tries):
        attempt = {"publisher": publisher, "n": n, "try": number}
        recorder.write("attempt", **attempt, **told, begin=time.monotonic())
        try:
            outcome = {"id": target.do(order), "stored": "yes"}
        except Failed as failed:
            outcome = {"error": str(failed), "stored": "unknown" if failed.unknown else "no"}
        end = time.monotonic()
        recorder.write("outcome", **attempt, **outcome, end=end, seconds=target.seconds)
        if "id" in outcome:
            return True
        if number < tries - 1:
            time.sleep(_PAUSE_SECONDS)
    return False


class _Author:
    """Makes up what one publisher does."""

    def __init__(self, name, channels, random, *, once, runs):
        self._name, self._channels, self._random = name, channels, random
        self._once, self._runs = once, runs
        self._run, self._left = 0, random.randint(*_RUN_LENGTH)

    def next(self, n):
        """Return an order."""
        random = self._random
        order = {"do": "publish", "data": f"{self._name}:{n}:" + "x" * random.choice([0, 10, 100, 100, 1000])}
        if self._once:
            order["idempotency_key"] = f"{self._name}:{n}"
        if self._runs and random.random() < 0.4:
            return self._next_of_run(order)
        channels = [random.choice(self._channels)]
        if is_kept(channels[0]):
            # One publisher has a key for itself: so it is known which value is the newest.
            order |= {"key": f"{self._name}.{random.randrange(_KEYS)}", "keep": True}
            if random.random() < 0.3:
                channels = [channel for channel in self._channels if is_kept(channel)]
            if random.random() < 0.1:
                return {"do": "forget", "channel": channels, "key": order["key"]}
        elif random.random() < 0.15:
            more = random.sample(self._channels, min(2, len(self._channels)))
            channels += [one for one in more if one not in channels and not is_kept(one)]
        return {**order, "channel": channels}

    def _next_of_run(self, order):
        if self._run and self._random.random() < 0.2:
            return {**order, "channel": [run_of(self._name, self._run - 1)]}  # which is refused
        channel = [run_of(self._name, self._run)]
        self._left -= 1
        if self._left > 0:
            return {**order, "channel": channel}
        # Perhaps with its last event; what may be closed already is closed without one.
        if self._left < 0 or self._random.random() < 0.5:
            return {"do": "close", "channel": channel}
        return {**order, "channel": channel, "close": True}

    def went(self, order, is_acknowledged):
        """Be told how it went: a run is over when its end was acknowledged."""
        if is_acknowledged and (order["do"] == "close" or order.get("close")):
            self._run, self._left = self._run + 1, self._random.randint(*_RUN_LENGTH)

    def end(self):
        """Return what is left to do."""
        return {"do": "close", "channel": [run_of(self._name, self._run)]} if self._runs else None


def main():
    """Run until the end of standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--channels", required=True)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--runs", action="store_true")
    options = parser.parse_args()

    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    target, recorder = Target(options.target), Recorder(options.record)
    rng = random.Random(f"{options.seed}:{options.name}")
    author = _Author(options.name, options.channels.split(","), rng, once=options.once, runs=options.runs)
    n, due, order = 0, time.monotonic(), None
    while not over.wait(max(0.0, due - time.monotonic())):
        order = author.next(n)
        tries = MAX_TRIES if options.once or order["do"] == "close" else 1
        author.went(order, publish(target, recorder, options.name, n, order, tries=tries))
        n += 1
        # Nothing is made up for: a fault is no reason for a flood.
        due = max(due + 1 / options.rate, time.monotonic() - 1 / options.rate)
    order = author.end()
    if order is not None:
        publish(target, recorder, options.name, n, order, tries=MAX_TRIES)
    target.close()
    recorder.close()


if __name__ == "__main__":
    main()
