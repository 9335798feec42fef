"""How many modules an event and a request travel through."""

import re
from pathlib import Path

import pytest

from tests.journey import count

PAGE = (Path(__file__).parents[2] / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def counted():
    """Both journeys, counted in real workers."""
    return count()


@pytest.mark.parametrize("journey", ["event", "request"])
def test_journey_is_as_long_as_the_page_says(counted, journey):
    """The page of the architecture names the hops and the modules of each journey."""
    hops, modules = map(int, re.search(rf"^\| {journey} \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE).groups())
    assert (counted[journey].hops, counted[journey].modules) == (hops, modules)
