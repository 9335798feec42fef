"""Positions, written and read."""

import pytest

from flask_sse_push.core.positions import MAX_ID_BYTES, EventId, check_token, is_epoch, parse
from flask_sse_push.errors import InvalidEvent


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("e-0", EventId("e", 0)),
        ("3fa9-17", EventId("3fa9", 17)),
        ("A.b_c~9-9999999999999999999", EventId("A.b_c~9", 9_999_999_999_999_999_999)),
        ("x" * 40 + "-1", EventId("x" * 40, 1)),
    ],
)
def test_parse_reads_what_str_wrote(text, id):
    """A position is read back from the text that it is written as."""
    assert parse(text) == id
    assert str(id) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "e-",
        "-1",
        "e",
        "7",
        "e-01",
        "e--1",
        "e-1 ",
        " e-1",
        "e-1\n",
        "e-1\r\n",
        "e-+1",
        "e-1.0",
        "e-1e3",
        "a-b-1",
        "e-\u0661",
        "é-1",
        "e,-1",
        "e-\0",
        "x" * 41 + "-1",
        "e-" + "9" * 20,
        "e-1" * 10_000,
        "null",
        "undefined",
    ],
)
def test_parse_knows_what_no_log_has_sent(text):
    """A text that no log writes is no position, and never an error: it comes from outside."""
    assert parse(text) is None


def test_longest_position_fits_into_an_id():
    """The longest position stays within the bytes that need no preflight."""
    longest = "x" * 40 + "-" + "9" * 19
    assert parse(longest) is not None
    assert len(longest) <= MAX_ID_BYTES
    check_token(longest)


@pytest.mark.parametrize("id", ["a", "end", "0", "A.b_c~d-9", "x" * 64])
def test_token_within_the_alphabet_is_taken(id):
    """Letters, digits, dot, underscore, tilde and hyphen make an id, up to 64 of them."""
    check_token(id)


@pytest.mark.parametrize("id", ["", "a b", "a\n", "\n", "a\0", "ü", "x" * 65, "a,b", "a:b", None, 5])
def test_token_outside_of_it_is_refused(id):
    """Anything else is refused, with the value and the cure."""
    with pytest.raises(InvalidEvent) as caught:
        check_token(id)
    assert repr(id) in str(caught.value)
    assert str(caught.value).endswith("Encode other values first.")


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("e", True),
        ("A.b_c~9", True),
        ("x" * 40, True),
        ("", False),
        ("x" * 41, False),
        ("a-b", False),
        ("a\n", False),
        ("a\ndata: x", False),
        ("é", False),
        (b"e", False),
        (None, False),
        (7, False),
    ],
)
def test_is_epoch_knows_what_may_stand_in_an_id(value, is_one):
    """What a store names as its epoch is one only if no client would read anything else out of it."""
    assert is_epoch(value) is is_one
