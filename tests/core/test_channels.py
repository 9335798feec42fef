"""Names of channels and patterns over them."""

import enum
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_push.core.channels import DEFAULT_CHANNEL, Pattern, check_channel, check_channels
from flask_sse_push.errors import InvalidChannel

ALPHABET = string.ascii_letters + string.digits + "_.:@/=~-"


@pytest.mark.parametrize(
    "channel", ["a", "sse", "orders.7", "user:5", "a@b", "/x/y", "k=v", "~me", "A-Z_0", "x" * 128, *ALPHABET]
)
def test_channel_of_the_alphabet_is_a_name(channel):
    """1 to 128 letters, digits or any of _ . : @ / = ~ - name a channel."""
    check_channel(channel)
    assert check_channels(channel, 1) == (channel,)


@pytest.mark.parametrize(
    "channel",
    [
        "",
        "a b",
        "a+b",
        "a,b",
        "a*",
        "é",
        "a\n",
        "a\r",
        "\0",
        "x" * 129,
        "a%20b",
        "a?b",
        "a#b",
        '"',
        "\u0661",
        "\udcff",
        None,
        7,
        b"sse",
        ["sse"],
    ],
)
def test_channel_outside_the_alphabet_is_refused(channel):
    """Any other value is refused, shown, and answered with the alphabet."""
    with pytest.raises(
        InvalidChannel,
        match=r'(?s)^"channel" .*got .*Use 1 to 128 letters, digits or any of _ \. : @ / = ~ -\.$',
    ):
        check_channel(channel)


def test_channel_that_is_refused_is_shown_shortened():
    """A refused name of any size makes a message of a bounded size."""
    with pytest.raises(InvalidChannel) as caught:
        check_channel("x" * 1_000_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("channels", "names"),
    [
        ("a", ("a",)),
        (["a"], ("a",)),
        (["b", "a", "b"], ("b", "a")),
        (("b", "a"), ("b", "a")),
        (iter(["x", "y"]), ("x", "y")),
        ({"k": 1}, ("k",)),
        (frozenset(["one"]), ("one",)),
    ],
)
def test_channels_are_returned_in_order_and_once(channels, names):
    """One name or any iterable of names becomes a tuple in which each stands once."""
    assert check_channels(channels, 5) == names


@pytest.mark.parametrize("channels", [[], (), iter([]), {}, ""])
def test_channels_must_name_one_at_least(channels):
    """No channel at all is refused."""
    with pytest.raises(InvalidChannel):
        check_channels(channels, 5)


@pytest.mark.parametrize("channels", [7, None, b"sse", 1.5, object()])
def test_channels_must_be_names(channels):
    """A value that is neither a name nor names is refused, bytes too."""
    with pytest.raises(InvalidChannel, match=r'^"channel" must be a name or several names, got '):
        check_channels(channels, 5)


@pytest.mark.parametrize(
    "channels", [["a", "b c"], ["a", None], [7], [b"a"], [["a"]], [{"a": 1}], bytearray(b"a")]
)
def test_channels_are_checked_one_by_one(channels):
    """One wrong name among several is refused, whatever it is."""
    with pytest.raises(InvalidChannel, match=r'^"channel" is not a name for a channel, got '):
        check_channels(channels, 5)


def test_channels_are_limited_after_doubles_are_gone():
    """The limit counts channels, not how often they are named."""
    assert check_channels(["a", "b", "a", "b"], 2) == ("a", "b")
    with pytest.raises(
        InvalidChannel, match=r'^"channel" names 3 channels, at most 2 are allowed\. Give fewer'
    ):
        check_channels(["a", "b", "c"], 2)


class Topic(str, enum.Enum):
    NEWS = "news"


def test_channel_of_an_enum_is_its_value():
    """A member of an Enum over str is the channel of its value."""
    assert check_channels(Topic.NEWS, 1) == ("news",)
    assert check_channels([Topic.NEWS, "news"], 1) == ("news",)


def test_default_channel_is_that_of_flask_sse():
    """Without a channel, events go where Flask-SSE sends them."""
    assert DEFAULT_CHANNEL == "sse"


@pytest.mark.parametrize(
    ("pattern", "channel", "fits"),
    [
        ("news", "news", True),
        ("news", "newsx", False),
        ("news", "xnews", False),
        ("orders.*", "orders.", True),
        ("orders.*", "orders.7.items", True),
        ("orders.*", "orders", False),
        ("orders.*", "xorders.7", False),
        ("*", "anything", True),
        ("**", "a", True),
        ("*.done", "a.done", True),
        ("*.done", "a.done.x", False),
        ("a*b", "ab", True),
        ("a*b", "a.b.b", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("ab*ba", "aba", False),
        ("a*b*c", "axbxc", True),
        ("a*b*c", "axcxb", False),
        ("a*b*c", "acb", False),
        ("a*b*b", "ab", False),
        ("room.*.chat", "room.7.chat", True),
        ("a.c", "abc", False),
    ],
)
def test_pattern_matches_the_whole_name(pattern, channel, fits):
    """A pattern fits a whole name, and * stands for any run of characters, also for none."""
    assert Pattern(pattern).matches(channel) is fits


@given(
    pattern=st.text(alphabet="ab.*", min_size=1, max_size=12),
    channel=st.text(alphabet="ab.", min_size=1, max_size=12),
)
def test_pattern_matches_as_a_regular_expression_would(pattern, channel):
    """A pattern says the same as the expression in which * is written .* ."""
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert Pattern(pattern).matches(channel) == (re.fullmatch(expression, channel) is not None)


@pytest.mark.parametrize("text", ["", "a b", "a?", "[a]", "é", "a\n", "x" * 129, None, 7])
def test_pattern_outside_the_alphabet_is_refused(text):
    """A pattern is made of a name's characters and *."""
    with pytest.raises(
        InvalidChannel,
        match=r'^"pattern" is not a pattern over channels, got .* and \* for any characters\.$',
    ):
        Pattern(text)


def test_pattern_shows_its_text():
    """A pattern's repr is how it is written."""
    assert repr(Pattern("a.*")) == "Pattern('a.*')"
    assert Pattern("a.*").text == "a.*"
