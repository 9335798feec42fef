"""The layers of the tests themselves."""

from pathlib import Path

import pytest

from tests.layers import _ROWS, LAYERS, group_of, layer_of

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("row", _ROWS)
def test_row_names_what_is_there(row):
    """A row of the table is about a folder or a file that exists, and puts it into a layer that exists."""
    assert (TESTS / row).exists()
    assert _ROWS[row] in LAYERS


def test_file_in_no_row_is_an_error():
    """Who adds a folder of tests says in which layer it is."""
    with pytest.raises(pytest.UsageError, match="is in no layer. Put it into a folder"):
        layer_of(TESTS / "elsewhere" / "test_something.py")


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/core/test_event.py::test_id_is_refused[a b]", "tests/core/test_event.py:"),
        ("tests/servers/test_x.py::test_it[gunicorn-gevent]", "tests/servers/test_x.py:gunicorn-gevent"),
        (
            "tests/servers/test_x.py::test_it[slow-gunicorn-gevent-portable]",
            "tests/servers/test_x.py:gunicorn-gevent-portable",
        ),
        ("tests/package/test_wheel.py::test_it", "package"),
        ("tests/package/test_typing.py::test_it", "package"),
    ],
)
def test_group_is_a_module_a_kind_of_server_or_the_package(nodeid, group):
    """What shares a server or an environment runs in one process."""
    assert group_of(nodeid) == group
