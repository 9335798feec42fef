"""The batches that streams at one place share: how many are kept, and how large."""

import pytest

from flask_sse_push.core import log_cache
from flask_sse_push.core.log_cache import Batch, BatchCache

CHANNELS = ("a",)


def keep(cache, position, size_bytes):
    """Keep a batch of a size under a place, and return it."""
    batch = Batch(b"." * size_bytes, position + 1, (), None)
    cache.keep((CHANNELS, position), (batch, position + 1))
    return batch


@pytest.fixture
def cache(monkeypatch):
    monkeypatch.setattr(log_cache, "MAX_CACHED_BATCHES", 4)
    monkeypatch.setattr(log_cache, "MAX_CACHED_BYTES", 100)
    return BatchCache()


def test_batch_is_found_by_its_place(cache):
    """
    A batch comes back with the position behind it, to cursors of the same channels at the same position.
    """
    batch = keep(cache, 7, 10)
    assert cache.get((CHANNELS, 7)) == (batch, 8)
    assert cache.get((CHANNELS, 8)) is None
    assert cache.get((("b",), 7)) is None


def test_cache_is_bounded_in_batches(cache):
    """One batch too many empties the cache, and is kept in the empty one."""
    for position in range(4):
        keep(cache, position, 0)
    assert len(cache) == 4
    keep(cache, 4, 0)
    assert list(cache) == [(CHANNELS, 4)]


def test_cache_is_bounded_in_bytes(cache):
    """Bytes too many empty the cache, and the count goes on from what was kept after that."""
    keep(cache, 0, 60)
    keep(cache, 1, 40)
    assert len(cache) == 2
    keep(cache, 2, 1)
    assert list(cache) == [(CHANNELS, 2)]
    keep(cache, 3, 99)
    assert len(cache) == 2
    keep(cache, 4, 1)
    assert list(cache) == [(CHANNELS, 4)]


def test_batch_larger_than_the_cache_is_kept_alone(cache):
    """One event may be larger than the bound, and its streams share it all the same."""
    keep(cache, 0, 10)
    keep(cache, 1, 1_000)
    assert list(cache) == [(CHANNELS, 1)]


def test_cleared_cache_counts_from_zero(cache):
    """After a change of the log nothing is kept and nothing is counted."""
    keep(cache, 0, 90)
    cache.clear()
    assert not cache
    keep(cache, 1, 50)
    keep(cache, 2, 50)
    assert len(cache) == 2
