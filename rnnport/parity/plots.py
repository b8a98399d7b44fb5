"""The plots of a parity report, as SVG text that stands inside a page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rnnport.errors import MissingExtraError
from rnnport.parity.finding import WAYS, severity
from rnnport.parity.report import ParityReport

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError as missing:
    raise MissingExtraError("matplotlib", "onnx", "plots in a report") from missing

BLUE, RED, GREY = "#2563eb", "#dc2626", "#94a3b8"
COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#0891b2")
LEAST = 1e-10  # where a logarithmic axis ends: equal numbers have no logarithm
STYLE = {
    "font.size": 10.0,
    "axes.edgecolor": "#cbd5e1",
    "axes.labelcolor": "#334155",
    "xtick.color": "#64748b",
    "ytick.color": "#64748b",
    "text.color": "#334155",
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
LEFT_EDGE = 1e-4
MOST_LINES = 6  # a plot with more outputs shows those with the largest errors


def error_over_time(report: ParityReport, salt: str) -> str:
    """The largest error of each time step over all cases, a line for each output; SVG or ""."""
    lines = _profiles(report)
    if not lines:
        return ""
    return svg(lambda: _draw_over_time(report, lines), salt)


def error_by_group(report: ParityReport, salt: str) -> str:
    """How near each group of cases came to its bound; SVG or nothing."""
    if not report.comparisons:
        return ""
    return svg(lambda: _draw_by_group(report), salt)


def _profiles(report: ParityReport) -> dict[tuple[str, str], NDArray[np.float64]]:
    """(output, way) → the largest error of each step, those with the largest errors first."""
    found: dict[tuple[str, str], NDArray[np.float64]] = {}
    for item in report.comparisons:
        if item.way == "alone" or len(item.profile) < 2:
            continue
        key, profile = (item.output, item.way), np.asarray(item.profile)
        before = found.get(key, np.zeros(0))
        together = np.zeros(max(len(before), len(profile)))
        together[: len(before)] = before
        together[: len(profile)] = np.maximum(together[: len(profile)], profile)
        found[key] = together
    largest = sorted(found.items(), key=lambda entry: -float(entry[1].max()))
    return dict(largest[:MOST_LINES])


def _draw_over_time(
    report: ParityReport, lines: dict[tuple[str, str], NDArray[np.float64]]
) -> Figure:
    figure = Figure(figsize=(7.6, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for (output, way), colour in zip(lines, COLOURS, strict=False):
        profile = lines[(output, way)]
        axes.plot(
            np.arange(len(profile)),
            np.clip(profile, LEAST, None),
            color=colour,
            linestyle="-" if way == "whole" else "--",
            linewidth=1.5,
            label=plain(f"{output}, {WAYS[way]}"),
        )
    axes.axhline(max(report.atol, LEAST), color=RED, linewidth=1.0, label=f"atol {report.atol:g}")
    axes.set_yscale("log")
    axes.set_xlabel("time step")
    axes.set_ylabel("largest error")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5)
    return figure


def _draw_by_group(report: ParityReport) -> Figure:
    groups = [group for group in report.groups() if group.comparisons][::-1]
    figure = Figure(figsize=(7.6, 0.8 + 0.32 * len(groups)), layout="constrained")
    axes = figure.add_subplot()
    finite = [excess for item in report.comparisons if np.isfinite(excess := severity(item))]
    most = 30.0 * max([1.0, *finite])
    for row, group in enumerate(groups):
        excess = max(severity(item) for item in group.comparisons)
        seen = float(np.clip(excess, 0.0, most))
        axes.barh(row, seen, height=0.6, color=RED if group.failures else BLUE)
        axes.annotate(_in_words(excess), (max(seen, LEFT_EDGE), row), va="center", fontsize=8.5)
    axes.axvline(1.0, color=RED, linewidth=1.0)
    axes.set_xscale("log")
    axes.set_xlim(LEFT_EDGE, most)
    axes.set_yticks(range(len(groups)), [plain(group.name) for group in groups])
    axes.set_xlabel("largest error as a multiple of its bound (1 is a miss)")
    return figure


def _in_words(excess: float) -> str:
    if np.isinf(excess):
        return " no tolerance would do"
    return " equal" if excess == 0.0 else f" {excess:.2g}"


def plain(text: str) -> str:
    """A name out of a file as a plot shows it: a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def svg(draw: Callable[[], Figure], salt: str) -> str:
    """Text drawn as paths, no date, ids that differ between the plots of one page."""
    with (
        mpl.rc_context({**STYLE, "svg.hashsalt": salt, "svg.fonttype": "path"}),
        warnings.catch_warnings(),
    ):
        stream = io.StringIO()
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # drawn as a box
        draw().savefig(stream, format="svg", metadata=NO_METADATA)
    text = stream.getvalue()
    return text[text.index("<svg") :]
