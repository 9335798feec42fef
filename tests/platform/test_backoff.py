"""The pauses between two tries."""

from itertools import islice

from flask_sse_push.platform.backoff import backoff


def test_pauses_double_up_to_a_bound():
    """Each pause is in the upper half of its length, which doubles from 50 ms to 5 s."""
    lengths = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]
    for _ in range(100):
        for pause, length in zip(islice(backoff(), 10), lengths, strict=True):
            assert length / 2 <= pause <= length


def test_pauses_of_two_processes_differ():
    """Those who lost the same server do not come back together."""
    assert list(islice(backoff(), 10)) != list(islice(backoff(), 10))
