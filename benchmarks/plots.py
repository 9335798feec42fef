"""The results as pictures, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .bus_report import BusReport
from .peers import PACKAGE, PEERS, RECIPE, REFERENCE
from .report import Report
from .scenarios import BUSY, STEADY

__all__ = ["draw", "draw_growth"]

GREY = "#7d8590"
"""Of text and axes: about as far from white as from black."""

COLOURS = {
    REFERENCE: GREY,
    RECIPE: "#c9821b",
    PACKAGE: "#2f81f7",
    "portable": "#2f81f7",
    "flask_sse": "#d1495b",
    "sse_starlette": "#2da44e",
    "better_sse": "#8f6bd6",
    "nchan": "#1b9aaa",
}

_TITLES = {peer.name: peer.title for peer in PEERS}

_SHADES = ("#8f6bd6", "#2f81f7", "#2da44e", "#c9821b")
"""Of lines that are of one bus."""

_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titlepad": 12,
    "font.size": 9.5,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "DejaVu Sans", "sans-serif"],
    # So that the same results give the same file.
    "svg.hashsalt": "flask_sse_push",
}


def draw(report: Report, folder: Path) -> list[Path]:
    """
    Draw what was measured, one SVG for each question.

    Args:
        report (Report): The results.
        folder (Path): Where the files go; it exists.

    Returns:
        list: What was drawn. Empty without matplotlib.
    """
    pyplot = _pyplot()
    if pyplot is None:
        return []
    pictures = (
        ("deliveries", {"streams", "crowd"}, _deliveries),
        ("latency", {"streams"}, _latency),
        ("bursts", {"streams", "channels"}, _bursts),
        ("streams", {"crowd"}, _streams),
    )
    drawn = []
    for name, needed, picture in pictures:
        if not needed <= set(report.scenarios):
            continue
        path = folder / f"{name}.svg"
        _save(pyplot, path, picture, report)
        drawn.append(path)
    return drawn


def draw_growth(report: BusReport, path: Path) -> bool:
    """Draw what a delivery costs with more processes and channels; say whether that is possible here."""
    pyplot = _pyplot()
    if pyplot is None or not report.cases("growth"):
        return False
    _save(pyplot, path, _growth, report)
    return True


def _pyplot() -> Any:
    """Return what draws; ``None`` without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    mpl.use("svg")
    from matplotlib import pyplot

    return pyplot


def _save(pyplot: Any, path: Path, picture: Callable[[Any, Any], Any], report: Report | BusReport) -> None:
    with pyplot.rc_context(_STYLE):
        figure = picture(pyplot, report)
        figure.savefig(path, transparent=True, metadata={"Date": None}, bbox_inches="tight", pad_inches=0.1)
        pyplot.close(figure)


def _growth(pyplot: Any, report: BusReport) -> Any:
    """What a delivery costs, by the number of channels; a line for each number of processes."""
    cases = report.cases("growth")
    buses = sorted({case.bus for case in cases} - {"memory"})
    trees = report.trees()
    figure, panels = pyplot.subplots(
        1, len(buses), figsize=(1 + 4.5 * len(buses), 3.8), sharey=True, squeeze=False
    )
    for axes, bus in zip(panels[0], buses):
        lines = {(case.bus, case.workers) for case in cases if case.bus in (bus, "memory")}
        for place, (name, workers) in enumerate(sorted(lines, reverse=True)):
            for tree in trees:
                points = [
                    (case.channels, value)
                    for case in sorted(cases)
                    if (case.bus, case.workers) == (name, workers)
                    and (value := report.median("growth", case, tree, "private.cpu")) is not None
                ]
                if not points:
                    continue
                words = (
                    "memory, 1 process" if name == "memory" else f"{workers} process{'es' * (workers != 1)}"
                )
                axes.plot(
                    *zip(*points),
                    color=GREY if name == "memory" else _SHADES[place % len(_SHADES)],
                    linewidth=1.8,
                    linestyle="-" if tree == trees[0] else ":",
                    marker="o",
                    markersize=4,
                    label=words if tree == trees[0] else None,
                )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(channels := sorted({case.channels for case in cases}), [f"{n:,}" for n in channels])
        axes.yaxis.set_major_locator(pyplot.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f} µs")
        axes.minorticks_off()
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.7)
        axes.set_xlabel("channels, each with a stream")
        axes.set_title({"redis": "Redis", "sqlite": "SQLite"}.get(bus, bus), fontsize=10)
    panels[0][-1].legend(frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.suptitle(
        "CPU of all processes per delivered event (less is better)"
        + (f"; dotted: {trees[1]}" if len(trees) > 1 else ""),
        x=0.01,
        ha="left",
        fontsize=11,
    )
    figure.tight_layout(w_pad=2)
    return figure


def _deliveries(pyplot: Any, report: Report) -> Any:
    """What a second of CPU delivers, by the number of streams."""
    sizes = report.sizes
    points = (("streams", "few", sizes.few), ("streams", "many", sizes.many), ("crowd", "crowd", sizes.crowd))
    figure, axes = pyplot.subplots(figsize=(8, 4.4))
    ends = []
    for peer in report.versions:
        line = [
            (streams, value)
            for scenario, key, streams in points
            if (value := _median(report, scenario, peer, f"{key}.steady.per_cpu_second")) is not None
        ]
        if not line:
            continue
        style = {
            "linewidth": 2.6 if peer == PACKAGE else 1.5,
            "linestyle": {"portable": "--", REFERENCE: ":"}.get(peer, "-"),
            "marker": "o",
            "markersize": 4,
        }
        axes.plot(*zip(*line), color=COLOURS[peer], zorder=3 if peer == PACKAGE else 2, **style)
        ends.append((line[-1], peer))
    axes.set_xscale("log")
    axes.set_xticks([streams for *_, streams in points], [f"{streams:,}" for *_, streams in points])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlim(sizes.few * 0.85, sizes.crowd * 1.15)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f}k" if value else "0")
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.7)
    axes.set_xlabel("streams on one channel")
    axes.set_title("Events delivered per second of server CPU, 20 events a second (more is better)")
    top = axes.get_ylim()[1]
    for y, ((x, value), peer) in zip(_apart([value for (_, value), _ in ends], 0.055 * top), ends):
        axes.annotate(
            _TITLES[peer],
            (x, value),
            xytext=(sizes.crowd * 1.22, y),
            textcoords="data",
            va="center",
            color=COLOURS[peer],
            weight="bold" if peer == PACKAGE else "normal",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": COLOURS[peer], "alpha": 0.4, "linewidth": 0.8}
            if x != sizes.crowd or abs(y - value) > 0.01 * top
            else None,
        )
    return figure


def _latency(pyplot: Any, report: Report) -> Any:
    """From the publish to the client, at a rate that leaves nothing to gather and at one that asks for it."""
    many = f"{report.sizes.many:,} streams"
    panels = (("many.steady", STEADY), ("many.busy", BUSY))
    figure, both = pyplot.subplots(1, 2, figsize=(10, 3.4), sharey=True)
    peers = [
        peer for peer in report.versions if _median(report, "streams", peer, "many.steady.p50") is not None
    ]
    seen = [
        value
        for key, _ in panels
        for part in ("p50", "p99")
        for peer in peers
        if (value := _median(report, "streams", peer, f"{key}.{part}"))
    ]
    limits = (min(seen) / 2, max(seen) * 12) if seen else (1, 1_000)
    for axes, (key, rate) in zip(both, panels):
        for place, peer in enumerate(reversed(peers)):
            p50, p99 = (_median(report, "streams", peer, f"{key}.{part}") for part in ("p50", "p99"))
            if p50 is None or p99 is None:
                continue
            axes.plot(
                (p50, p99),
                (place, place),
                color=COLOURS[peer],
                linewidth=5,
                alpha=0.45,
                solid_capstyle="round",
            )
            axes.plot(p50, place, "o", color=COLOURS[peer], markersize=6)
            reached = _median(report, "streams", peer, f"{key}.events") or 0
            # Who cannot keep the rate publishes later, and what waits unpublished has no latency: a small one
            # says nothing without this.
            behind = f", but only {reached:.0f} a second" if reached < 0.95 * rate else ""
            text = f"{p50:,.3g} to {p99:,.3g}{behind}"
            axes.annotate(
                text,
                (p99, place),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                annotation_clip=False,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f} ms" if value >= 1 else f"{value:g} ms")
        axes.set_xlim(*limits)
        axes.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.7)
        axes.set_title(f"{rate} events a second to {many}", fontsize=10)
        axes.set_yticks(range(len(peers)), [_TITLES[peer] for peer in reversed(peers)])
        axes.tick_params(axis="y", length=0)
    figure.suptitle(
        "Latency: from the median (dot) to p99 (end), less is better", x=0.01, ha="left", fontsize=11
    )
    figure.tight_layout(w_pad=2)
    return figure


def _bursts(pyplot: Any, report: Report) -> Any:
    """What comes through when events are published flat out."""
    many = f"{report.sizes.many:,}"
    return _bars(
        pyplot,
        report,
        (
            ("streams", "many.flat_out.per_second", f"one channel, {many} streams", "deliveries per second"),
            ("channels", "channels.per_second", f"{many} channels, a stream each", "deliveries per second"),
        ),
        "Flat out (more is better; logarithmic)",
        logarithmic=True,
    )


def _streams(pyplot: Any, report: Report) -> Any:
    """What a stream costs before the first event."""
    return _bars(
        pyplot,
        report,
        (
            ("crowd", "crowd.memory", "memory per idle stream (less is better)", "KiB"),
            (
                "crowd",
                "crowd.connects",
                f"{report.sizes.at_once:,} at once (more is better)",
                "streams opened per second",
            ),
        ),
        "What a stream costs",
    )


def _bars(
    pyplot: Any,
    report: Report,
    panels: Sequence[tuple[str, str, str, str]],
    title: str,
    *,
    logarithmic: bool = False,
) -> Any:
    figure, both = pyplot.subplots(1, len(panels), figsize=(9, 3.2), sharey=True)
    peers = list(report.versions)[::-1]
    for axes, (scenario, key, name, unit) in zip(both, panels):
        values = [_median(report, scenario, peer, key) for peer in peers]
        colours = [COLOURS[peer] for peer in peers]
        if logarithmic:
            # The length of a bar would depend on where the scale happens to begin.
            axes.scatter(
                [value or 0 for value in values], range(len(peers)), color=colours, s=50, clip_on=False
            )
            axes.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.7)
        else:
            axes.barh(
                range(len(peers)), [value or 0 for value in values], color=colours, height=0.62, alpha=0.85
            )
        for place, (peer, value) in enumerate(zip(peers, values)):
            text = "not measured" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
            axes.annotate(
                text,
                (value or 0, place),
                xytext=(8 if logarithmic else 5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                weight="bold" if peer == PACKAGE else "normal",
            )
        if logarithmic:
            axes.set_xscale("log")
        largest = max((value for value in values if value), default=1)
        axes.set_xlim(right=largest * (8 if logarithmic else 1.25))
        axes.xaxis.set_major_formatter(
            lambda value, _: (
                f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
            )
        )
        axes.minorticks_off()
        axes.set_yticks(range(len(peers)), [_TITLES[peer] for peer in peers])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(unit)
        axes.set_title(name, fontsize=10)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.tight_layout(w_pad=2)
    return figure


def _median(report: Report, scenario: str, peer: str, key: str) -> float | None:
    """Return a figure, but none that failed its check."""
    return None if report.faults(scenario, peer) else report.median(scenario, peer, key)


def _apart(values: Sequence[float], least: float) -> list[float]:
    """Return places near the values, in their order, no two of them closer than ``least``."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    places = [values[index] for index in order]
    for _ in range(200):
        for below in range(len(places) - 1):
            lack = least - (places[below + 1] - places[below])
            if lack > 1e-9 * least:
                places[below] -= lack / 2
                places[below + 1] += lack / 2
    result = list(values)
    for index, place in zip(order, places):
        result[index] = place
    return result
