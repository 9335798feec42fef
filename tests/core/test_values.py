"""Values taken as what they are, and shown without harm."""

import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from werkzeug.local import LocalProxy

from flask_sse_push.core.values import number_of, printable, shown, text_of
from tests.liars import Imposter, Liar, LyingNumber


class Kind(str, enum.Enum):
    CREATED = "created"


class Wait(int, enum.Enum):
    SECOND = 1000


class Mute:
    def __repr__(self):
        raise LookupError


class Wordless:
    def __repr__(self):
        return Liar("\x1b[2J", "harmless")


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("", ""), (Liar("true", "lie"), "true"), (Markup("<b>"), "<b>"), (Kind.CREATED, "created")],
)
def test_text_is_the_characters_themselves(value, text):
    """Of a str and of every subclass, it is the characters in a str itself, whatever their methods say."""
    assert type(text_of(value)) is str
    assert text_of(value) == text


@pytest.mark.parametrize(
    "value",
    [None, 7, b"a", bytearray(b"a"), memoryview(b"a"), ["a"], Imposter("a"), LocalProxy(lambda: "a"), str],
    ids=lambda value: type(value).__name__,  # the same name in each process
)
def test_text_of_anything_else_is_none(value):
    """What is no str, though it says that it is one, is none."""
    assert text_of(value) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), (-1, -1), (LyingNumber(7, 1000), 7), (Wait.SECOND, 1000), (10**5000, 10**5000)],
    ids=lambda value: str(type(value)),
)
def test_number_is_the_number_itself(value, number):
    """Of an int and of every subclass, it is the number in an int itself, whatever their methods say."""
    assert type(number_of(value)) is int
    assert number_of(value) == number


@pytest.mark.parametrize("value", [None, True, False, 1.0, "7", LocalProxy(lambda: 7)], ids=repr)
def test_number_of_anything_else_is_none(value):
    """A bool, a float and what only says that it is an int are none."""
    assert number_of(value) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb\x9b", "'a\\nb\\x9b'"),
        ("né", "'né'"),
        (7, "7"),
        (None, "None"),
        (b"\x1b", "b'\\x1b'"),
        (Liar("true", "lie"), "'true'"),
        (LyingNumber(7, 1000), "7"),
        (Mute(), "a value that cannot be shown"),
        (10**5000, "a value that cannot be shown"),
        (Wordless(), "\\x1b[2J"),
        ("x" * 1000, "'" + "x" * 156 + "..."),
    ],
    ids=lambda value: str(type(value)),
)
def test_value_is_shown_as_what_it_is(value, text):
    """Texts and numbers are shown by their own repr, others by theirs, all of it short and printable."""
    assert shown(value) == text


@given(text=st.text(alphabet=st.characters()))
def test_printable_text_is_printable(text):
    """Nothing that a terminal obeys is left, and what is printable stays."""
    assert printable(text).isprintable()
    assert (printable(text) == text) == text.isprintable()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b", "\\x9b"),
        ("\x7f", "\\x7f"),
        ("\u202ea", "\\u202ea"),
        ("\u2028", "\\u2028"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("né →", "né →"),
        ("'\\", "'\\"),
    ],
)
def test_printable_text_is_escaped_as_python_writes_it(text, escaped):
    """Controls, separators and marks of direction are written as in Python's source."""
    assert printable(text) == escaped
