"""
Many clients in one process, each as a browser is: ``python -m tests.soak.clients``.

They come back after any end with their ``Last-Event-ID``, after the time that the stream told them, and stop
for ever at what stops a
browser for ever. Some stay, some read slowly, some lose their connection again and again and resume, some
come and go. Commands come by
standard input, a line each: ``status`` is answered by a line of JSON, after ``settle`` nobody leaves or drops
any more, and the end of
input ends them all.
"""

import argparse
import asyncio
import json
import random
import socket
import sys
import threading

from flask_sse_push.errors import InvalidStream
from flask_sse_push.testing import Decoder
from tests.soak.record import MARKER, Recorder, shorten

__all__ = ["main"]

STAYING, SLOW, RESTLESS, VISITING = "staying", "slow", "restless", "visiting"

_FIRST_RETRY_MILLISECONDS = 500
_VISIT_SECONDS = 1.0, 5.0
_CONNECTED_SECONDS = 0.2, 3.0  # of the restless
_SLOW_READ_BYTES = 512
_SLOW_PAUSE_SECONDS = 0.01
_STALL_SECONDS = 0.5, 2.5


class _Refused(Exception):
    """An answer that stops a browser for ever."""


class _Client:
    def __init__(self, crowd, name, kind):
        self.name, self.kind = name, kind
        self.open = self.marked = self.stopped = False
        self._crowd = crowd
        self._random = random.Random(f"{crowd.seed}:{name}")
        self._channels = self._random.sample(crowd.channels, self._random.randint(1, len(crowd.channels)))
        self._last_event_id = ""
        self._retry_milliseconds = _FIRST_RETRY_MILLISECONDS
        self._connection = 0

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
            except (_Refused, InvalidStream) as error:
                reason, final = str(error), True
            self.open = False
            self._write("end", connection=self._connection, reason=reason, final=final)
            self._connection += 1
            if final:
                self.stopped = True
                await asyncio.Event().wait()  # as a browser would, until the page is closed
            await asyncio.sleep(self._retry_milliseconds / 1000)

    async def _connect(self):
        self._write("open", connection=self._connection, last_event_id=self._last_event_id)
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            if self.kind == SLOW:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", self._crowd.port))
            path = "/events?" + "&".join(f"channel={channel}" for channel in self._channels)
            lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream"]
            if self._last_event_id:
                lines.append(f"Last-Event-ID: {self._last_event_id}")
            await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
            body = _Body()
            decoder = Decoder()
            while True:
                piece = await loop.sock_recv(sock, _SLOW_READ_BYTES if self.kind == SLOW else 65536)
                for part in body.feed(piece):
                    self.open = True
                    self._take(decoder, part)
                if body.ended or not piece:
                    return "ended" if body.ended else "cut"
                if self.kind == SLOW:
                    await asyncio.sleep(
                        _SLOW_PAUSE_SECONDS
                        if self._random.random() > 0.001
                        else self._random.uniform(*_STALL_SECONDS)
                    )

    def _take(self, decoder, part):
        events = decoder.feed(part)
        if decoder.retry is not None:
            self._retry_milliseconds = decoder.retry
        # A block gives one event at most, and the decoder has seen its id.
        moved = decoder.last_event_id not in ("", self._last_event_id)
        if moved:
            self._last_event_id = decoder.last_event_id
        for event in events:
            id = event.last_event_id or None
            self._write("got", connection=self._connection, id=id, type=event.type, data=shorten(event.data))
            self.marked = self.marked or event.data.startswith(f"{MARKER}:")
        if moved and not events:
            self._write("place", connection=self._connection, id=self._last_event_id)

    def _write(self, kind, **fields):
        self._crowd.recorder.write_now(kind, client=self.name, **fields)


class _Body:
    """
    The body of one answer, out of its chunks, cut behind each blank line so that every block is seen alone.
    """

    def __init__(self):
        self.ended = False
        self._raw = b""
        self._head = None
        self._left = 0  # of the chunk that is being read, its CRLF included

    def feed(self, piece):
        self._raw += piece
        if self._head is None and not self._read_head():
            return
        text = b"".join(self._unchunked())
        while text:
            end = text.find(b"\n\n")
            yield text if end < 0 else text[: end + 2]
            text = b"" if end < 0 else text[end + 2 :]

    def _read_head(self):
        head, found, rest = self._raw.partition(b"\r\n\r\n")
        if not found:
            return False
        head = head.lower()
        status = head.split(None, 2)[1]
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
        self.port, self.seed = options.port, options.seed
        self.channels = options.channels.split(",")
        self.recorder = Recorder(options.record)
        self.settled = False
        self._over = asyncio.Event()
        self._clients = {}
        self._numbers = iter(range(1_000_000))
        self._kinds = [SLOW] * options.slow + [RESTLESS] * options.restless + [VISITING] * options.visiting
        self._kinds += [STAYING] * (options.count - len(self._kinds))

    async def run(self):
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read_commands, args=(loop,), daemon=True).start()
        places = [asyncio.ensure_future(self._keep(kind)) for kind in self._kinds]
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
                    "marked": sum(client.marked for client in clients),
                    "stopped": sum(client.stopped for client in clients),
                }
            ),
            flush=True,
        )


def main():
    """Run until the end of standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--channels", required=True)
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
