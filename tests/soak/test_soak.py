"""
The fault suite in short, with a fixed seed: one scenario of each kind, or nearly every one where
``SSE_PUSH_TEST_LONG=1``. All of them, and longer, are ``python -m tests.soak``.
"""

import pytest

from tests.soak.__main__ import main
from tests.soak.scenarios import SCENARIOS, play
from tests.support import LONG

OF_EACH_KIND = {
    "kept-values",
    "network-falls-silent",
    "one-worker",
    "private-folder-removed",
    "redis-restarted",
    "worker-killed",
}

SHORT = [
    scenario for scenario in SCENARIOS if not scenario.takes_long and (LONG or scenario.name in OF_EACH_KIND)
]


@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
def test_fault_costs_what_it_may_and_no_more(scenario, tmp_path):
    """
    No acknowledged event is lost without a reset that says so, none comes twice or out of order, no reset
    comes without a reason, no publish hangs, and nobody is left dead.
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
