"""
A process that publishes, one event after the other, and writes down what it was told: ``python -m
tests.soak.publishers``.

Over HTTP it is one more visitor of the app; with the URL of a bus it is a worker of its own, without any app.
Events are counted, so
that each text is published once; with ``--keys`` an event whose fate is unknown is repeated under its
idempotency key. The end of
standard input ends it.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
from urllib.parse import urlsplit

from flask_sse_push.errors import BusUnavailable
from tests.soak.record import Recorder, shorten

__all__ = ["Target", "is_unknown", "main", "publish"]

MAX_TRIES = 4
_PAUSE_SECONDS = 0.2
_HTTP_TIMEOUT_SECONDS = 20.0


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
    def __init__(self, url):
        self._parts = urlsplit(url)

    def publish(self, data, channel, key):
        connection = http.client.HTTPConnection(
            self._parts.hostname, self._parts.port, timeout=_HTTP_TIMEOUT_SECONDS
        )
        try:
            try:
                connection.connect()
            except OSError as error:
                raise Failed(f"{type(error).__name__}: {error}", unknown=False) from None
            try:
                body = json.dumps({"data": data, "channel": channel, "key": key})
                connection.request("POST", self._parts.path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                text = response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                raise Failed(f"{type(error).__name__}: {error}", unknown=True) from None
        finally:
            connection.close()
        if response.status == 200:
            return json.loads(text)["id"]
        if response.status == 503:
            message = json.loads(text)["error"]
            raise Failed(message, is_unknown(message))
        raise Failed(f"status {response.status}: {text[:200]}", unknown=True)

    def close(self):
        """Each event has a connection of its own."""


class _Bus:
    def __init__(self, url):
        from flask_sse_push.extension.publisher import Publisher

        self._publisher = Publisher(url)

    def publish(self, data, channel, key):
        try:
            return self._publisher.publish(data, channel=channel, idempotency_key=key)
        except BusUnavailable as error:
            raise Failed(str(error), is_unknown(str(error))) from None

    def close(self):
        self._publisher.close()


def Target(url):
    """Return what publishes to a URL."""
    return _Http(url) if url.startswith("http://") else _Bus(url)


def publish(target, recorder, publisher, n, channel, data, *, key=None, tries=1):
    """Publish one event, in several tries where it has a key. Returns whether it was acknowledged."""
    for number in range(tries):
        recorder.write(
            "attempt",
            publisher=publisher,
            n=n,
            **{"try": number},
            channel=channel,
            data=shorten(data),
            key=key,
            begin=time.monotonic(),
        )
        try:
            outcome = {"id": target.publish(data, channel, key), "stored": "yes"}
        except Failed as failed:
            outcome = {"error": str(failed), "stored": "unknown" if failed.unknown else "no"}
        recorder.write(
            "outcome", publisher=publisher, n=n, **{"try": number}, **outcome, end=time.monotonic()
        )
        if "id" in outcome:
            return True
        if number < tries - 1:
            time.sleep(_PAUSE_SECONDS)
    return False


def main():
    """Run until the end of standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--channels", required=True)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keys", action="store_true")
    options = parser.parse_args()

    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    target, recorder = Target(options.target), Recorder(options.record)
    rng = random.Random(f"{options.seed}:{options.name}")
    channels = options.channels.split(",")
    n, due = 0, time.monotonic()
    while not over.wait(max(0.0, due - time.monotonic())):
        data = f"{options.name}:{n}:" + "x" * rng.choice([0, 10, 100, 100, 1000])
        keyed = {"key": f"{options.name}:{n}", "tries": MAX_TRIES} if options.keys else {}
        publish(target, recorder, options.name, n, rng.choice(channels), data, **keyed)
        n += 1
        # Nothing is made up for: a fault is no reason for a flood.
        due = max(due + 1 / options.rate, time.monotonic() - 1 / options.rate)
    target.close()
    recorder.close()


if __name__ == "__main__":
    main()
