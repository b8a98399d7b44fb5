"""The account of a quantization: what was done to each node, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rnnport.graph.quantize.account import NodeAccount
from rnnport.graph.quantize.histograms import Histogram
from rnnport.parity.drift import Drift, to_record

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Sensitivity:
    """One recurrent layer quantized alone: the output that strays most, as a part of its size."""

    node: str
    output: str
    relative: float


@dataclass(frozen=True)
class Judgement:
    """A task's metrics before and after, on the same rows.

    ``drop`` is what got worse: points of accuracy (0.01 is one point) for a classifier, and the
    part by which the mean squared error grew for a forecaster; below zero it got better.
    ``agreement`` is the share of equal decisions, None where there are none.
    """

    data: str
    sha256: str
    split: str
    measure: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    drop: float
    agreement: float | None

    def to_record(self) -> dict[str, Any]:
        """The judgement as it stands in a spec: the one measure, not all metrics."""
        figures = {"before": self.before[self.measure], "after": self.after[self.measure]}
        return {**asdict(self), **figures}

    def lines(self) -> Iterator[str]:
        """The judgement for a terminal."""
        counted = self.measure == "accuracy"
        shown, better = ("{:.2%}", 0.0 - self.drop) if counted else ("{:.4g}", self.drop)
        before, after = (shown.format(each[self.measure]) for each in (self.before, self.after))
        change = f"{100 * better:+.2f}{' points' if counted else '%'}"
        yield f"{self.measure} {before} → {after} ({change}) on {self.data}, {self.split} part"
        if self.agreement is not None:
            yield f"decisions equal: {self.agreement:.2%} of {self.before['count']:,}"


@dataclass(frozen=True)
class Cost:
    """What was measured of a twin beside its parent; ``judgement`` is None without data."""

    drift: Mapping[str, Drift]
    sensitivity: tuple[Sensitivity, ...]
    judgement: Judgement | None


@dataclass(frozen=True)
class QuantizeReport:
    """What became of a file; ``path`` is None where a budget was missed and nothing was written."""

    source: str
    path: str | None
    precision: str
    nodes: tuple[NodeAccount, ...]
    bytes_before: int  # of the files
    bytes_after: int
    cost: Cost
    notes: tuple[str, ...]
    failure: str  # which budget was missed; empty where none was
    histograms: tuple[Histogram, ...] = ()  # for the page

    @property
    def drift(self) -> Mapping[str, Drift]:
        """How far each output and state strays from the parent's."""
        return self.cost.drift

    @property
    def sensitivity(self) -> tuple[Sensitivity, ...]:
        """The drift with each recurrent layer quantized alone, the largest first."""
        return self.cost.sensitivity

    @property
    def judgement(self) -> Judgement | None:
        """The task's metrics before and after, where there was data to measure them on."""
        return self.cost.judgement

    @property
    def ok(self) -> bool:
        """Whether every budget held, so that the file was written."""
        return not self.failure

    def lines(self) -> Iterator[str]:
        """The account for a terminal."""
        ratio = self.bytes_after / self.bytes_before
        yield (
            f"{self.path or self.source}  {self.precision}, {self.bytes_before:,} → "
            f"{self.bytes_after:,} bytes ({ratio:.2f} of it)"
        )
        yield from _table(
            ("node", "", "weights", "as", "bytes", ""),
            [
                (
                    n.node,
                    n.op,
                    n.stored,
                    n.form or f"kept: {n.reason}",
                    n.bytes_before,
                    n.bytes_after,
                )
                for n in self.nodes
            ],
        )
        yield "drift from the parent, RMS as a part of the output's own size"
        yield from _table(
            ("output", "RMS", "max", "by quarter of time"),
            [_drift_row(*e) for e in self.drift.items()],
        )
        if self.sensitivity:
            yield "sensitivity: the drift with one recurrent layer quantized alone"
            rows = [(s.node, f"{s.relative:.2g}", s.output) for s in self.sensitivity]
            yield from _table(("layer", "RMS", "of the output"), rows)
        if self.judgement is None:
            yield "accuracy  not measured: --evaluate DATA does"
        else:
            yield from self.judgement.lines()
        yield from (f"note  {note}" for note in self.notes)
        if self.failure:
            yield f"FAILED  {self.failure}; nothing was written"

    def to_json(self) -> str:
        """The account as one JSON document."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "path": self.path,
            "ok": self.ok,
            "precision": self.precision,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "nodes": [asdict(node) for node in self.nodes],
            "drift": to_record(self.drift),
            "sensitivity": [asdict(each) for each in self.sensitivity],
            "evaluation": None if self.judgement is None else asdict(self.judgement),
            "notes": list(self.notes),
            "failure": self.failure,
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False)


def _drift_row(name: str, drift: Drift) -> tuple[str, ...]:
    quarters = drift.quarters or ()
    scale = drift.scale or 1.0
    return (
        name,
        f"{drift.relative:.2g}",
        f"{drift.max / scale:.2g}",
        " ".join(f"{quarter / scale:.1g}" for quarter in quarters),
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Columns as wide as they need to be, whole numbers with separators."""
    cells = [[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        yield "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
