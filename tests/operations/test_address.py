"""URLs and headers as they are written in a shell."""

import pytest

from flask_sse_push.operations.address import Address, parse_address, parse_header


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://shop.example", Address(False, "shop.example", None, "/", None)),
        ("https://SHOP.example:8443/a?b=c", Address(True, "shop.example", 8443, "/a?b=c", None)),
        ("http://[::1]:80/", Address(False, "::1", 80, "/", None)),
        ("http://me:se%3Acret@x/", Address(False, "x", None, "/", "Basic bWU6c2U6Y3JldA==")),
        ("http://me@x/", Address(False, "x", None, "/", "Basic bWU6")),
        ("http://x/a b?c d=\u00e9#e", Address(False, "x", None, "/a%20b?c%20d=%C3%A9", None)),
        ("http://x/a%20b?c=%26", Address(False, "x", None, "/a%20b?c=%26", None)),
    ],
)
def test_url_is_taken_apart(url, address):
    """Host, port, and what a request line can hold; a user becomes a header."""
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///a", "http://a b/", "http://x:99999/", "http://x:y/", "http://" + "a" * 64 + "/"],
)
def test_url_that_no_request_can_be_sent_to_is_refused(url):
    """
    A URL without a host, with one that has no name in the DNS, or with no port's number, is a ValueError.
    """
    with pytest.raises(ValueError, match="."):
        parse_address(url)


def test_address_is_shown_without_its_user():
    """What names a server in messages has no secret in it."""
    assert str(parse_address("https://me:secret@x:8443/a?b=c")) == "https://x:8443/a?b=c"
    assert str(parse_address("http://x")) == "http://x/"


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer x",
        "a:b",
        "X-A:",
        "X-A: \t b c \t",
        "Cookie: a=b; c=\u00e9",
        "!#$%&'*+.^_`|~0: x",
    ],
)
def test_header_is_read(line):
    """A name, a colon and a value of one line make a header; white space around the value is left out."""
    assert parse_header(line) == (line.partition(":")[0], line.partition(":")[2].strip(" \t"))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "secret",
        ": secret",
        "a b: secret",
        "a: secret\r\nb: c",
        "a: secret\n",
        "a: \0secret",
        "a: secret\x7f",
        "\u00e9: secret",
        "a: secret\ud800",
        " a: secret",
        "a : secret",
        "Connection: secret",
        "TRANSFER-ENCODING: secret",
        "Content-Length: secret",
        "Accept-Encoding: secret",
        "last-event-id: secret",
        "Upgrade: secret",
    ],
)
def test_header_that_cannot_be_sent_is_refused(line):
    """What is none, would begin another, or belongs to the connection is refused, and not shown."""
    with pytest.raises(ValueError, match="it ") as caught:
        parse_header(line)
    assert "secret" not in str(caught.value)
