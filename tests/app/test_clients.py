"""How many streams one client may have."""

import contextlib
import itertools
import logging
import re
import threading
from pathlib import Path

import pytest
from flask import abort, has_request_context, request
from werkzeug.local import LocalProxy

from flask_sse_push import SSEPush
from flask_sse_push.extension.clients import ClientStreams
from flask_sse_push.testing import open_stream
from tests.letter import LetterClient

from .helpers import first_bytes, make_app

ADA, BOB = {"REMOTE_ADDR": "10.0.0.1"}, {"REMOTE_ADDR": "10.0.0.2"}


@pytest.fixture
def sse():
    return SSEPush()


def is_refused(client, path="/events", **options):
    """Whether a stream is refused; one that is not ends at once."""
    with client.get(path, **options) as response:
        assert response.status_code == 200
        first = first_bytes(response)
    if b"id:" in first or b"data:" in first:
        return False
    letter = LetterClient()
    letter.connect(first)
    assert 15_000 <= letter.retry <= 60_000
    return True


def test_client_gets_as_many_streams_as_it_may_have(sse):
    """
    One more is asked to come later, another client is not concerned, and a place that becomes free is given
    again.
    """
    client = make_app(blueprint=sse, max_streams_per_client=2).test_client()
    with open_stream(client, "/events", environ_base=ADA), contextlib.ExitStack() as second:
        second.enter_context(open_stream(client, "/events", environ_base=ADA))
        assert is_refused(client, environ_base=ADA)
        assert not is_refused(client, environ_base=BOB)
        assert sse.stats()["refused"] == 1
        second.close()
        assert not is_refused(client, environ_base=ADA)
    assert not is_refused(client, environ_base=ADA)


def test_clients_are_not_limited_by_default(sse):
    """Without the setting one address may have any number, and the key is not asked for."""

    def key(request):
        raise AssertionError("asked")

    client = make_app(blueprint=sse, client_key=key).test_client()
    with contextlib.ExitStack() as streams:
        for _ in range(30):
            streams.enter_context(open_stream(client, "/events", environ_base=ADA))


def test_client_is_who_the_key_says(sse):
    """
    The key is asked inside the request; None is not limited, and neither is a request without an address.
    """
    client = make_app(
        blueprint=sse,
        max_streams_per_client=1,
        client_key=lambda asked: asked.headers.get("X-User") and request.headers["X-User"],
    ).test_client()
    with open_stream(client, "/events", headers={"X-User": "ada"}), open_stream(client, "/events"):
        assert is_refused(client, headers={"X-User": "ada"})
        assert not is_refused(client, headers={"X-User": "bob"})
        assert not is_refused(client)
    client = make_app(blueprint=SSEPush(), max_streams_per_client=1).test_client()
    unix = {"REMOTE_ADDR": ""}
    with open_stream(client, "/events", environ_base=unix), open_stream(client, "/events", environ_base=unix):
        pass


def documented_key():
    text = (Path(__file__).parents[2] / "docs/limits.md").read_text(encoding="utf-8")
    names = {}
    exec(re.search(r"```python\n(import ipaddress\n.*?)```", text, re.DOTALL)[1], names)
    return names["client_key"]


def test_documented_key_counts_networks_of_ipv6(sse):
    """The function that the documentation shows: one key per address, and one per network of IPv6."""
    client = make_app(blueprint=sse, max_streams_per_client=1, client_key=documented_key()).test_client()
    with (
        open_stream(client, "/events", environ_base={"REMOTE_ADDR": "2001:db8::1"}),
        open_stream(client, "/events", environ_base=ADA),
    ):
        assert is_refused(client, environ_base={"REMOTE_ADDR": "2001:db8::2"})
        assert not is_refused(client, environ_base={"REMOTE_ADDR": "2001:db8:0:1::1"})
        assert not is_refused(client, environ_base=BOB)


def test_documented_key_knows_ipv4_on_a_socket_of_ipv6_and_a_socket_without_addresses(sse):
    """
    A server that listens on [::] writes IPv4 as IPv6, all of it in one network; over a Unix socket there is
    no address.
    """
    client = make_app(blueprint=sse, max_streams_per_client=1, client_key=documented_key()).test_client()
    unix = {"REMOTE_ADDR": ""}
    with (
        open_stream(client, "/events", environ_base={"REMOTE_ADDR": "::ffff:192.0.2.1"}),
        open_stream(client, "/events", environ_base=unix),
    ):
        assert is_refused(client, environ_base={"REMOTE_ADDR": "192.0.2.1"})
        assert not is_refused(client, environ_base={"REMOTE_ADDR": "::ffff:192.0.2.2"})
        assert not is_refused(client, environ_base=unix)


def fails(request):
    raise KeyError("user")


def aborts(request):
    abort(401)


class OtherEachTime(str):
    """A text that is found in no table."""

    __slots__ = ()

    def __hash__(self):
        return next(NUMBERS)

    def __eq__(self, other):
        return False


NUMBERS = itertools.count()


def test_key_of_a_subclass_is_the_text_that_it_is(sse):
    """What its methods say does not matter: each place is counted for the same client, and given back."""
    key = lambda asked: OtherEachTime("ada")  # noqa: E731
    client = make_app(blueprint=sse, max_streams_per_client=1, client_key=key).test_client()
    with open_stream(client, "/events"):
        assert is_refused(client)
    assert not is_refused(client)
    assert sse.stats()["channels"] == {}


def proxy(request):
    return LocalProxy(lambda: "ada" if has_request_context() else abort(500))


@pytest.mark.parametrize(
    "key", [proxy, fails, aborts, lambda request: 7, lambda request: b"ada", lambda request: ["ada"]]
)
def test_key_that_fails_refuses_softly_and_is_logged_once(sse, key, caplog):
    """A mistake in the key must not stop browsers for ever, nor let anybody in without a limit."""
    client = make_app(blueprint=sse, max_streams_per_client=5, client_key=key).test_client()
    with caplog.at_level(logging.WARNING, "flask_sse_push"):
        for _ in range(3):
            assert is_refused(client)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["Streams are refused"]
    assert "SSE_PUSH_CLIENT_KEY" in caplog.text
    assert sse.stats()["refused"] == 3


def test_refused_client_is_logged_once_with_the_cure(sse, caplog):
    """The first refusal names the setting, and what to do where all clients seem to be one."""
    client = make_app(blueprint=sse, max_streams_per_client=1).test_client()
    with caplog.at_level(logging.WARNING, "flask_sse_push"), open_stream(client, "/events"):
        assert all([is_refused(client) for _ in range(3)])
    assert len(caplog.records) == 1
    assert "SSE_PUSH_MAX_STREAMS_PER_CLIENT" in caplog.text
    assert "ProxyFix" in caplog.text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_response_counts_as_a_stream_of_its_client(sse, method):
    """It is refused as a channel's stream is; fetch() is told by a status, and counted too."""
    app = make_app(blueprint=sse, max_streams_per_client=1)
    app.add_url_rule("/answer", view_func=lambda: sse.response(["a"]), methods=["GET", "POST"])
    client = app.test_client()
    with open_stream(client, "/events", environ_base=ADA):
        if method == "GET":
            assert is_refused(client, "/answer", environ_base=ADA)
        else:
            assert client.post("/answer", environ_base=ADA).status_code == 503
            with client.post("/answer", environ_base=BOB) as response:
                assert response.status_code == 200
        assert sse.stats()["refused"] == 1
    with client.open("/answer", method=method, environ_base=ADA) as response:
        assert b"done" in b"".join(response.response)
    assert not is_refused(client, environ_base=ADA)


def never_begun(client):
    client.get("/events", environ_base=ADA).close()


def head(client):
    client.head("/events", environ_base=ADA).close()


def closed(client):
    with client.get("/events", environ_base=ADA) as response:
        first_bytes(response)


def finished(client):
    with client.get("/answer", environ_base=ADA) as response:
        assert list(response.response)


def full(client):
    with (
        open_stream(client, "/events", environ_base=BOB),
        open_stream(client, "/events", environ_base={"REMOTE_ADDR": "10.0.0.3"}),
    ):
        assert is_refused(client, environ_base=ADA)


def refused(client):
    with client.get("/events?channel=", environ_base=ADA) as response:
        assert response.status_code == 400


@pytest.mark.parametrize("end", [never_begun, head, closed, finished, full, refused])
def test_place_is_given_back_however_a_stream_ends(sse, end):
    """A client that had one stream in any way, many times, may have one more."""
    app = make_app(blueprint=sse, max_streams_per_client=1, max_streams=2)
    app.add_url_rule("/answer", view_func=lambda: sse.response(["a"]))
    client = app.test_client()
    for _ in range(3):
        end(client)
    with open_stream(client, "/events", environ_base=ADA):
        assert is_refused(client, environ_base=ADA)
    assert not is_refused(client, environ_base=ADA)


def test_count_is_exact_among_threads():
    """
    Of many threads that take and give back, never more than allowed have a place, and nothing is left in the
    end.
    """
    streams, most, at_once, problems = ClientStreams(3), 3, [], []

    def work():
        for _ in range(500):
            place = streams.place_of("ada")
            if place.take() is None:
                at_once.append(None)
                if len(at_once) > most:
                    problems.append(len(at_once))
                at_once.pop()
                place.give_back()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert streams.counts == {}
    assert streams.place_of("ada").why_not() is None
