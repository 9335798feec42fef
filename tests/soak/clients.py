"""
Many clients in one process, each as a browser is: ``python -m tests.soak.clients``.

They come back after any end with their ``Last-Event-ID``, after the time that the stream told them, and stop
for ever at what stops a browser for ever. Some stay, some read slowly, some lose their connection again and
again and resume, some come and go, and some follow one run of a publisher after the other. Who comes takes
the past, or what came since its page was made, or only what is new. Commands come by standard input, a line
each: ``status`` is answered by a line of JSON, after ``settle`` nobody leaves or drops any more, and the end
of input ends them all.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import socket
import sys
import threading

from flask_sse_push.errors import InvalidStream
from flask_sse_push.testing import Decoder
from tests.soak.channels import PRICES, PRIVATE, SHARED, run_of
from tests.soak.record import MARKER, Recorder, shorten

__all__ = ["main"]

STAYING, SLOW, RESTLESS, VISITING, RUNNER = "staying", "slow", "restless", "visiting", "runner"

_FIRST_RETRY_MILLISECONDS = 500
_VISIT_SECONDS = 1.0, 5.0
_REWIND = 5
_CONNECTED_SECONDS = 0.2, 3.0  # of the restless
_SLOW_READ_BYTES = 512
_SLOW_PAUSE_SECONDS = 0.01
_STALL_SECONDS = 0.5, 2.5


class _Refused(Exception):
    """An answer that stops a browser for ever."""


class _Finished(Exception):
    """An answer that says that nothing more comes."""


class _NoPage(OSError):
    """A page that cannot be made while the bus is away."""


class _Client:
    def __init__(self, crowd, name, kind, run=None):
        self.name, self.kind = name, kind
        self.open = self.marked = self.stopped = False
        self._crowd = crowd
        self._random = random.Random(f"{crowd.seed}:{name}")
        self._channels = [run] if run else crowd.choose(self._random)
        self._begin = "all" if run else self._choose_beginning()
        self._last_event_id = ""
        self._retry_milliseconds = _FIRST_RETRY_MILLISECONDS
        self._connection = 0

    def _choose_beginning(self):
        if self.kind != VISITING:
            return None
        few = "all" if any(channel in PRICES for channel in self._channels) else _REWIND
        return self._random.choice([None, "cursor", "all", few])

    async def run(self):
        self._write("join", channels=self._channels)
        try:
            if self.kind == VISITING:
                await self._visit()
            else:
                await self._listen()
        finally:
            self._write("leave")

    async def _visit(self):
        task = asyncio.ensure_future(self._listen())
        try:
            await asyncio.wait([task], timeout=self._random.uniform(*_VISIT_SECONDS))
            if self._crowd.settled:
                await task  # which goes on for ever
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self):
        while True:
            try:
                seconds = (
                    self._random.uniform(*_CONNECTED_SECONDS)
                    if self.kind == RESTLESS and not self._crowd.settled
                    else None
                )
                reason, final = await asyncio.wait_for(self._connect(), seconds), False
            except asyncio.TimeoutError:
                reason, final = "dropped", False
            except OSError as error:
                reason, final = type(error).__name__, False
            except _Finished:
                self._write("finished", connection=self._connection)
                reason, final = "finished", True
            except (_Refused, InvalidStream) as error:
                reason, final = str(error), True
            self.open = reason == _NoPage.__name__  # its site answers, and it asks again
            self._write("end", connection=self._connection, reason=reason, final=final)
            self._connection += 1
            if final:
                if reason == "finished" and self.kind == RUNNER:
                    return
                self.stopped = True
                await asyncio.Event().wait()  # as a browser would, until the page is closed
            await asyncio.sleep(self._retry_milliseconds / 1000)

    async def _connect(self):
        address = self._random.choice(self._crowd.servers)
        if self._begin == "cursor" and not self._last_event_id:
            path = "/soak/cursor?" + "&".join(f"channel={channel}" for channel in self._channels)
            async with _request(address, path) as sock:
                self._last_event_id = await _whole_answer(sock)
        rewind = None if self._begin == "cursor" or self._last_event_id else self._begin
        self._write("open", connection=self._connection, last_event_id=self._last_event_id, rewind=rewind)
        path = "/events?" + "&".join(f"channel={channel}" for channel in self._channels)
        if rewind is not None:
            path += f"&rewind={rewind}"
        loop = asyncio.get_running_loop()
        async with _request(address, path, self._last_event_id, self.kind == SLOW) as sock:
            body = _Body()
            decoder = Decoder()
            while True:
                piece = await loop.sock_recv(sock, _SLOW_READ_BYTES if self.kind == SLOW else 65536)
                for block in body.feed(piece):
                    self.open = True
                    self._take(decoder, block)
                if body.ended or not piece:
                    return "ended" if body.ended else "cut"
                if self.kind == SLOW:
                    await asyncio.sleep(
                        _SLOW_PAUSE_SECONDS
                        if self._random.random() > 0.001
                        else self._random.uniform(*_STALL_SECONDS)
                    )

    def _take(self, decoder, block):
        events = decoder.feed(block)
        if decoder.retry is not None:
            self._retry_milliseconds = decoder.retry
        has_id = block.startswith(b"id: ") or b"\nid: " in block
        if has_id:
            self._last_event_id = decoder.last_event_id
        id = decoder.last_event_id if has_id else None
        for event in events:
            data = shorten(event.data)
            if id is None and not event.type.startswith("sse."):
                self._write("value", connection=self._connection, data=data)
            else:
                self._write("got", connection=self._connection, id=id, type=event.type, data=data)
            self.marked = self.marked or event.data.startswith(f"{MARKER}:")
        if has_id and not events:
            self._write("place", connection=self._connection, id=id)

    def _write(self, kind, **fields):
        self._crowd.recorder.write_now(kind, client=self.name, **fields)


@contextlib.asynccontextmanager
async def _request(address, path, last_event_id="", is_slow=False):
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        if is_slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, int(port)))
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream"]
        if last_event_id:
            lines.append(f"Last-Event-ID: {last_event_id}")
        await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
        yield sock


async def _whole_answer(sock):
    """Return the text of an answer with status 200 and a length."""
    loop, raw = asyncio.get_running_loop(), b""
    while True:
        piece = await loop.sock_recv(sock, 65536)
        if not piece:
            raise ConnectionError("the answer was cut")
        raw += piece
        head, found, rest = raw.partition(b"\r\n\r\n")
        if not found:
            continue
        if head.split(None, 2)[1] != b"200":
            raise _NoPage(f"{head[:40]!r}")
        length = int(head.lower().partition(b"\r\ncontent-length:")[2].split(None, 1)[0])
        if len(rest) >= length:
            return rest[:length].decode()


class _Body:
    """The blocks of one answer, each when its blank line is there."""

    def __init__(self):
        self.ended = False
        self._raw = b""
        self._text = b""
        self._head = None
        self._left = 0  # of the chunk that is being read, its CRLF included

    def feed(self, piece):
        self._raw += piece
        if self._head is None and not self._read_head():
            return
        self._text += b"".join(self._unchunked())
        *blocks, self._text = self._text.split(b"\n\n")
        for block in blocks:
            yield block + b"\n\n"

    def _read_head(self):
        head, found, rest = self._raw.partition(b"\r\n\r\n")
        if not found:
            return False
        head = head.lower()
        status = head.split(None, 2)[1]
        if status == b"204":
            raise _Finished
        if status != b"200" or b"\r\ncontent-type: text/event-stream" not in head:
            raise _Refused(f"status {status.decode()}: {rest[:200]!r}")
        assert b"\r\ntransfer-encoding: chunked" in head, head
        self._head, self._raw = head, rest
        return True

    def _unchunked(self):
        while self._raw and not self.ended:
            if not self._left:
                size, found, rest = self._raw.partition(b"\r\n")
                if not found:
                    return
                self._raw, self._left = rest, int(size, 16) + 2
                self.ended = self._left == 2
            taken, self._raw = self._raw[: self._left], self._raw[self._left :]
            data = taken[: max(0, self._left - 2)]
            self._left -= len(taken)
            yield data


class _Crowd:
    def __init__(self, options):
        self.servers, self.seed = options.servers.split(","), options.seed
        self._channels = options.channels.split(",") if options.channels else None
        self._publishers = options.runs.split(",") if options.runs else []
        self.recorder = Recorder(options.record)
        self.settled = False
        self._over = asyncio.Event()
        self._clients = {}
        self._numbers = iter(range(1_000_000))
        self._kinds = [SLOW] * options.slow + [RESTLESS] * options.restless + [VISITING] * options.visiting
        self._kinds += [RUNNER] * len(self._publishers)
        self._kinds += [STAYING] * (options.count - len(self._kinds))

    async def run(self):
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read_commands, args=(loop,), daemon=True).start()
        places = [asyncio.ensure_future(self._keep(kind)) for kind in self._kinds if kind != RUNNER]
        places += [asyncio.ensure_future(self._follow(publisher)) for publisher in self._publishers]
        await self._over.wait()
        for place in places:
            place.cancel()
        await asyncio.gather(*places, return_exceptions=True)

    async def _keep(self, kind):
        """One client after the other; most are the only one."""
        while True:
            client = _Client(self, next(self._numbers), kind)
            self._clients[client.name] = client
            try:
                await client.run()
            finally:
                del self._clients[client.name]

    async def _follow(self, publisher):
        """One client for each run of a publisher, from its beginning to its end."""
        for number in itertools.count():
            client = _Client(self, next(self._numbers), RUNNER, run_of(publisher, number))
            self._clients[client.name] = client
            try:
                await client.run()
            finally:
                del self._clients[client.name]

    def choose(self, random):
        """Return what a client listens to: a private channel or three, some that others read too, or both."""
        if self._channels:
            return random.sample(self._channels, random.randint(1, min(3, len(self._channels))))
        private = random.sample(PRIVATE, 1 if random.random() < 0.8 else 3)
        many = SHARED + PRICES
        shared = random.sample(many, random.randint(1, len(many)))
        return random.choice([private, shared, [*private, *shared]])

    def _read_commands(self, loop):
        commands = {"settle": self._settle, "status": self._tell}
        for line in sys.stdin:
            loop.call_soon_threadsafe(commands[line.strip()])
        loop.call_soon_threadsafe(self._over.set)

    def _settle(self):
        self.settled = True

    def _tell(self):
        clients = list(self._clients.values())
        print(
            json.dumps(
                {
                    "clients": len(clients),
                    "open": sum(client.open for client in clients),
                    "marked": sum(client.marked or client.kind == RUNNER for client in clients),
                    "stopped": sum(client.stopped for client in clients),
                }
            ),
            flush=True,
        )


def main():
    """Run until the end of standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", required=True, help="addresses, separated by commas")
    parser.add_argument("--record", required=True)
    parser.add_argument("--channels", help="to listen to; some of all without it")
    parser.add_argument("--runs", help="publishers whose runs are followed")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--slow", type=int, default=6)
    parser.add_argument("--restless", type=int, default=8)
    parser.add_argument("--visiting", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    async def run():
        await _Crowd(options).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
