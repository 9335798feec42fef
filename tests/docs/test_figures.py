"""The tables of shared buses on the page of figures are those of the last run."""

import pytest

from benchmarks.bus_report import BusReport, Case
from tests.docs.pages import ROOT, page

FIGURES = page("docs/figures.md")
REPORT = BusReport.from_json((ROOT / "benchmarks/results/buses.json").read_text(encoding="utf-8"))
BUSES = {"memory": "memory", "SQLite": "sqlite", "Redis": "redis"}


def shown(part, bus, workers, key, form):
    """Return a median as the page shows it; a dash where there is none."""
    [case] = [case for case in REPORT.cases(part) if case[:2] == (bus, workers)] or [Case(bus, workers)]
    value = REPORT.median(part, case, "this checkout", key)
    return "-" if value is None else format(value, form)


def to_memory(bus):
    """Return what four processes deliver per CPU second, to one with its memory."""
    one, four = (
        REPORT.median("broadcast", Case(name, workers), "this checkout", "broadcast.per_cpu_second")
        for name, workers in (("memory", 1), (bus, 1 if bus == "memory" else 4))
    )
    return f"{four / one:.2f}"


@pytest.mark.parametrize(
    ("begins", "rows"),
    [
        pytest.param(
            "| bus | 1 process",
            [
                [title, *(shown("private", bus, workers, "private.cpu", ",.0f") for workers in (1, 2, 4, 8))]
                for title, bus in BUSES.items()
            ],
            id="private channels",
        ),
        pytest.param(
            "| bus | `publish()`",
            [
                [
                    title,
                    shown("publish", bus, 1, "publish.p50", ",.0f"),
                    shown("opening", bus, 1, "opening.p50", ".2f"),
                    to_memory(bus),
                ]
                for title, bus in BUSES.items()
            ],
            id="one process",
        ),
        pytest.param("| processes that listen", REPORT.carried(), id="what one Redis carries"),
    ],
)
def test_figures_of_buses_are_those_of_the_results(begins, rows):
    """Each number of the table is in `benchmarks/results/buses.json`, or computed from it."""
    assert FIGURES.table(begins) == rows
