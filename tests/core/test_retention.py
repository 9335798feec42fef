"""How much of the past is kept, as a developer says it and as a store gives it back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_push.core.channels import CONTROL_CHANNEL, Pattern
from flask_sse_push.core.retention import ChannelRetention, RetentionRules, read_rules


def rules(*patterns, length=100, seconds=300.0, max_bytes=1 << 20, **options):
    patterns = [(Pattern(text), ChannelRetention(*retention)) for text, retention in patterns]
    return RetentionRules(ChannelRetention(length, seconds), max_bytes, patterns=patterns, **options)


def test_first_pattern_that_fits_counts():
    """Their order decides, and the default is for the rest."""
    made = rules(("run.7", (7, 7.0)), ("run.*", (8, 8.0)), ("*", (9, 9.0)))
    assert [made.of(channel).length for channel in ("run.7", "run.8", "news")] == [7, 8, 9]
    assert rules(("run.*", (8, 8.0))).of("news") == (100, 300.0)


def test_control_channel_fits_no_pattern():
    """What processes tell each other is not to be set."""
    assert rules(("*", (1, 1.0))).of(CONTROL_CHANNEL) == (1_000, 600.0)


def test_rules_do_not_remember_every_channel():
    """Clients can name any number of channels, and each finds its pattern."""
    made = rules(("run.*", (8, 8.0)))
    for number in range(20_000):
        assert made.of(f"run.{number}").length == 8
    assert len(made._known) < 10_000


def test_rules_are_read_as_they_were_written():
    """A publisher without the app obeys the same."""
    made = rules(("run.*", (8, 8.0)), ("user.*", (9, 9.5)), max_kept=7, max_kept_bytes=70)
    again = read_rules(made.text)
    assert again == made
    assert (again.max_bytes, again.max_kept, again.max_kept_bytes) == (1 << 20, 7, 70)
    assert [again.of(channel) for channel in ("run.1", "user.1", "x")] == [(8, 8.0), (9, 9.5), (100, 300.0)]
    assert read_rules(made.text.encode()) == made


def test_same_rules_are_equal_and_others_are_not():
    """They are compared by what they say."""
    assert rules(("a", (1, 1.0))) == rules(("a", (1, 1.0)))
    assert hash(rules()) == hash(rules())
    assert rules() != rules(max_bytes=1)
    assert rules() != rules(("a", (1, 1.0)))
    assert rules() != rules().text
    assert repr(rules()) == f"RetentionRules({rules().text})"


GOOD = json.loads(rules(("run.*", (8, 8.0))).text)


def changed(place, value):
    values = json.loads(json.dumps(GOOD))
    at = values
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        "[]",
        "[" * 100_000,
        b"\xff",
        " " * 300_000 + json.dumps(GOOD),
        json.dumps([*GOOD, 1]),
        changed([0], 2),
        changed([1], 7),
        changed([1], [1]),
        changed([1, 0], 0),
        changed([1, 0], 1.5),
        changed([1, 0], True),
        changed([1, 0], 1_000_001),
        changed([1, 0], "7"),
        changed([1, 1], 0.5),
        changed([1, 1], float("nan")),
        changed([1, 1], float("inf")),
        changed([1, 1], None),
        changed([2], -1),
        changed([2], 1 << 60),
        changed([2], 1.0),
        changed([3], None),
        changed([4], "x"),
        changed([5], 7),
        changed([5, 0], "run"),
        changed([5, 0, 0], "a b"),
        changed([5, 0, 0], 7),
        changed([5, 0, 1], 0),
        changed([5, 0, 2], -1),
    ],
)
def test_text_that_is_none_of_ours_is_no_rules(text):
    """Whatever stands in a store, it is rules or none, and never another exception."""
    assert read_rules(text) is None


@given(text=st.text(max_size=30) | st.binary(max_size=30))
def test_any_text_is_rules_or_none(text):
    """No text raises."""
    assert read_rules(text) is None or read_rules(text) == read_rules(read_rules(text).text)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), st.lists
    )
)
def test_any_json_is_rules_or_none(value):
    """No JSON raises."""
    assert read_rules(json.dumps(value)) is None
