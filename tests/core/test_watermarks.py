"""What is remembered of channels that hold no entry."""

import pytest

from flask_sse_push.core import watermarks
from flask_sse_push.core.watermarks import Watermarks


@pytest.fixture
def marks(monkeypatch):
    monkeypatch.setattr(watermarks, "MAX_WATERMARKS", 2)
    return Watermarks(floor=5)


def test_watermarks_are_kept_by_channel(marks):
    """Each channel has its own, and a later one replaces it."""
    marks.keep("a", 7)
    marks.keep("b", 8)
    marks.keep("a", 9)
    assert (dict(marks), marks.floor) == ({"a": 9, "b": 8}, 5)


def test_oldest_of_too_many_watermarks_raises_the_floor(marks):
    """The floor stands for what is forgotten: it may report a gap too many, never one too few."""
    for channel, watermark in (("a", 7), ("b", 8), ("c", 9)):
        marks.keep(channel, watermark)
    assert (dict(marks), marks.floor) == ({"b": 8, "c": 9}, 7)


def test_floor_never_falls_for_an_older_watermark(marks):
    """A watermark below the floor does not lower it."""
    for channel, watermark in (("a", 3), ("b", 8), ("c", 9)):
        marks.keep(channel, watermark)
    assert marks.floor == 5
