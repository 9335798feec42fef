"""
The fault suite in short: every scenario with a fixed seed. The long version is ``python -m tests.soak``.
"""

import pytest

from tests.soak.__main__ import main
from tests.soak.scenarios import SCENARIOS, play


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_fault_costs_what_it_may_and_no_more(scenario, tmp_path):
    """
    No acknowledged event is lost without a reset that says so, none comes twice or out of order, no publish
    hangs, and nobody is left dead.
    """
    report = play(scenario, tmp_path, seed=1, quick=True)
    assert report.passed, report
    assert report.figures["delivered"] > 0
    assert report.figures["tracebacks"] == 0


def test_list_names_all_scenarios(capsys):
    """``--list`` says what there is."""
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        scenario.name for scenario in SCENARIOS
    ]
