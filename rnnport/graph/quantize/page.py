"""A quantization's account as one HTML page with its plots inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from rnnport.files import replacing
from rnnport.graph.quantize.plots import (
    drift_over_time,
    sensitivity_by_layer,
    weights_before_and_after,
)
from rnnport.graph.quantize.report import QuantizeReport
from rnnport.parity.drift import Drift
from rnnport.parity.html import bullets, document, figure


def write_page(report: QuantizeReport, path: Path, overwrite: bool = False) -> None:
    """Write the page whole or not at all.

    Raises:
        OutputExistsError: the file exists and ``overwrite`` is false.
        WriteError: the file cannot be written.
    """
    with replacing(path, overwrite) as temporary:
        temporary.write_text(page(report), encoding="utf-8")


def page(report: QuantizeReport) -> str:
    """The page as text."""
    ratio = report.bytes_after / report.bytes_before
    verdict = report.failure or (
        f"{report.bytes_before:,} → {report.bytes_after:,} bytes, {ratio:.2f} of the file"
    )
    name = Path(report.source).name
    body = [
        f"<h1>{escape(name)} in {report.precision}</h1>",
        f'<p class="quiet">{escape(report.source)} → {escape(report.path or "not written")}</p>',
        f'<div class="verdict {"good" if report.ok else "bad"}">{escape(verdict)}</div>',
        _task(report),
        _section("Nodes", _nodes(report)),
        _section(
            "Drift from the parent",
            _drift_table(report.drift.items()),
            figure("Over time", drift_over_time(report.drift, "drift")),
        ),
        _section(
            "Sensitivity",
            figure("", sensitivity_by_layer(report.sensitivity, "sensitivity")),
        ),
        _section(
            "Weights before and after",
            figure("", weights_before_and_after(report.histograms, "weights")),
        ),
        bullets("What to know", report.notes),
    ]
    return document(f"{name} in {report.precision}", body)


def _section(title: str, *parts: str) -> str:
    content = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def _task(report: QuantizeReport) -> str:
    if report.judgement is None:
        return _section("Task", "<p>Not measured: <code>--evaluate DATA</code> does.</p>")
    lines = "".join(f"<p>{escape(line)}</p>" for line in report.judgement.lines())
    return _section("Task", lines)


def _nodes(report: QuantizeReport) -> str:
    rows = [
        (
            (each.node, each.op, each.stored, each.form or f"kept: {each.reason}"),
            (f"{each.bytes_before:,}", f"{each.bytes_after:,}"),
        )
        for each in report.nodes
    ]
    return _table(("node", "operator", "weights", "as"), ("bytes before", "after"), rows)


def _drift_table(drift: Iterable[tuple[str, Drift]]) -> str:
    rows = []
    for name, each in drift:
        quarters = each.quarters or (None,) * 4
        shown = [each.rms, each.max, each.scale, *quarters]
        numbers = ["" if value is None else f"{value:.2g}" for value in shown]
        agreed = "" if each.agreement is None else f"{each.agreement:.2%}"
        rows.append(((name,), (*numbers, agreed)))
    head = ("RMS", "max", "output's RMS", "1st quarter", "2nd", "3rd", "4th", "decisions equal")
    return _table(("output",), head, rows)


Row = tuple[Sequence[str], Sequence[str]]  # its texts, then its numbers


def _table(texts: Sequence[str], numbers: Sequence[str], rows: Iterable[Row]) -> str:
    def line(tag: str, row: Row) -> str:
        left = "".join(f"<{tag}>{escape(text)}</{tag}>" for text in row[0])
        right = "".join(f"<{tag} class=n>{escape(text)}</{tag}>" for text in row[1])
        return f"<tr>{left}{right}</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table>{line('th', (texts, numbers))}{body}</table>"
