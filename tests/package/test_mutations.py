"""The list of mutations is one of this tree."""

import pytest

from tests.mutations import MUTATIONS, PACKAGE, ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_fits_the_tree(mutation):
    """Its text stands in its module, once, and the tests that are to notice it are there."""
    assert (ROOT / PACKAGE / mutation.file).read_text(encoding="utf-8").count(mutation.text) == 1
    assert mutation.text != mutation.replacement
    for test in mutation.tests:
        assert (ROOT / "tests" / test.partition("::")[0]).exists()
