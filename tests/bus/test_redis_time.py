"""How long publishing to a Redis may take, and how soon following goes on."""

import os
import ssl
import subprocess
import sys
import threading
import time

import pytest

from flask_sse_push import BusUnavailable
from flask_sse_push.core.messages import Message
from flask_sse_push.platform import backoff as pauses
from tests.bus.redis_server import EVENTS, ONE_SECOND, Toy, make_certificate, publish
from tests.bus.stores import Follower, block
from tests.needs import needs
from tests.servers.harness import ROOT
from tests.support import FACTOR, MS, eventually


def test_publish_to_a_stopped_server_ends_in_time_on_a_busy_machine(server, open_redis):
    """
    Thirty publishes at once to a server that stands still, with four busy processes for each core: each
    ends with its time.

    The rest is the scheduler's: a thread whose time is over runs when its turn comes, behind four others
    that use theirs up, and waits for the interpreter like thirty more. Half a second holds many such turns,
    and none of the package's own waits.
    """
    bus = open_redis(options=ONE_SECOND)
    publish(bus)
    took = []

    def go():
        begun = time.monotonic()
        with pytest.raises(BusUnavailable):
            publish(bus)
        took.append(time.monotonic() - begun)

    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))
    ]
    try:
        server.pause()
        threads = [threading.Thread(target=go) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30 * FACTOR)
    finally:
        server.go_on()
        for process in busy:
            process.kill()
            process.wait()
    assert len(took) == 30
    assert min(took) >= 1
    assert max(took) < 1 + 0.5 * FACTOR


def _take_slowly(connection):
    while connection.recv(1 << 17):
        threading.Event().wait(0.05)


def test_publish_of_a_large_event_is_sent_whole_or_ends_in_time(server, open_redis):
    """
    An event that is larger than all buffers is stored as it is, and one that a server takes too slowly was
    not stored: Redis runs no command of which a part is missing.
    """
    large = block("x" * (16 << 20))
    open_redis().publish(Message(("a",), large))
    (text,) = server.client().lrange(EVENTS, 0, -1)
    assert text.endswith(large)
    with Toy(_take_slowly) as toy:
        bus = open_redis(f"redis://127.0.0.1:{toy.port}/0", ONE_SECOND)
        begun = time.monotonic()
        with pytest.raises(BusUnavailable, match="^The event was not stored"):
            bus.publish(Message(("a",), large))
        assert time.monotonic() - begun < 1 + 0.5 * FACTOR


def _dribble_tls(connection):
    """Begin a TLS record of 16,000 bytes, and send a byte of it now and then."""
    connection.recv(65_536)
    connection.sendall(b"\x16\x03\x03\x3e\x80\x02\x00\x3e\x7c")
    while True:
        threading.Event().wait(0.2)
        connection.sendall(b"\x03")


def _dribble_answer(certificate, key):
    """Return what shakes hands well, and then begins a TLS record and sends a byte of it now and then."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(connection):
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = context.wrap_bio(coming, going, server_side=True)
        while True:
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(going.read())
                coming.write(connection.recv(65_536))
        connection.sendall(going.read() + b"\x17\x03\x03\x3e\x80")
        while True:
            threading.Event().wait(0.2)
            connection.sendall(b"\x03")

    return serve


ONE_PUBLISH = """
import sys, time
if sys.argv[2] == "gevent":
    from gevent import monkey; monkey.patch_all()
import socket
from flask_sse_push import BusUnavailable
from flask_sse_push.bus import BusOptions, open_bus
from flask_sse_push.core.messages import Message
from flask_sse_push.core.retention import ChannelRetention, RetentionRules

if sys.argv[3] == "slow name":
    look = socket.getaddrinfo
    socket.getaddrinfo = lambda *arguments, **options: time.sleep(5) or look(*arguments, **options)
bus = open_bus(sys.argv[1], BusOptions(RetentionRules(ChannelRetention(100, 300.0), 1 << 24), 1.0))
begun = time.monotonic()
try:
    bus.publish(Message(("a",), b"data: x\\n\\n"))
except BusUnavailable as error:
    assert ("may have been stored" if sys.argv[3] == "slow answer" else "was not stored") in str(error), error
print(time.monotonic() - begun)
"""


TROUBLES = [
    ("threads", "slow handshake"),
    ("gevent", "slow handshake"),
    ("threads", "slow answer"),
    ("gevent", "slow answer"),
    ("gevent", "slow name"),
]


@pytest.mark.parametrize(("backend", "trouble"), TROUBLES)
def test_publish_has_one_time_for_all_of_it(backend, trouble, tmp_path):
    """
    TLS that comes byte by byte is within the time of the publish, and under gevent so is the look for the
    host's name.
    """
    needs("openssl", modules=["redis", "gevent"])
    key, certificate = make_certificate(tmp_path)
    with Toy(_dribble_answer(certificate, key) if trouble == "slow answer" else _dribble_tls) as toy:
        arguments = [f"rediss://localhost:{toy.port}/0?ssl_cert_reqs=none", backend, trouble]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", ONE_PUBLISH, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30 * FACTOR,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 1 + 0.5 * FACTOR


def test_publish_that_works_again_wakes_the_follower(server, open_redis, monkeypatch):
    """
    A process whose publishing works again reads on at once, however long its follower was about to pause.
    """
    monkeypatch.setattr(pauses, "_FIRST_SECONDS", 120.0)
    bus = open_redis()
    follower = Follower(bus).up()
    server.kill()
    eventually(lambda: bus.health().state == "down", 5000 * MS)
    server.start()
    publish(bus, "back")
    eventually(lambda: follower.entries and follower.entries[-1].wire.endswith(b"back\n\n"), 5000 * MS)
    assert bus.health().state == "up"


def test_follower_that_cannot_read_is_not_hurried_by_each_publish(server, open_redis):
    """
    Where this user may write and not read, many publishes make the follower try about twice a second, not
    each time.
    """
    server.client().execute_command("ACL", "SETUSER", "plain", "on", ">secret", "~*", "&*", "+@all")
    bus = open_redis(f"redis://plain:secret@127.0.0.1:{server.port}/0")
    Follower(bus).up()
    server.client().execute_command("ACL", "SETUSER", "plain", "-subscribe")
    server.client().execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    eventually(lambda: bus.health().state == "down", 5000 * MS)
    before = server.client().info("stats")["total_connections_received"]
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        publish(bus)
    assert server.client().info("stats")["total_connections_received"] - before < 10
