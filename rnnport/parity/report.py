"""The outcome of comparing two engines: the verdict, its groups, its lines for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rnnport.parity.finding import WAYS, Comparison, Refusal, severity
from rnnport.parity.loss import Loss


@dataclass(frozen=True)
class Group:
    """The comparisons of like cases, as the terminal shows them: one line."""

    name: str
    cases: int
    refused: int
    comparisons: tuple[Comparison, ...]

    @property
    def failures(self) -> int:
        """How many arrays are beyond their bound."""
        return sum(not item.ok for item in self.comparisons)

    @property
    def elements(self) -> int:
        """How many pairs of numbers were compared."""
        return sum(item.elements for item in self.comparisons)

    @property
    def largest(self) -> float:
        """The largest absolute error."""
        return max((item.largest for item in self.comparisons), default=0.0)

    @property
    def verdict(self) -> str:
        """``ok``, ``FAILED``, or ``refused`` where nothing was compared."""
        if self.failures:
            return "FAILED"
        return "ok" if self.elements else "refused"

    def line(self) -> str:
        """One line for the terminal."""
        text = f"{self.verdict:<8}{self.name:<48}"
        if self.comparisons:
            text += f"{self.cases:>3} cases {len(self.comparisons):>4} arrays"
            text += f"   largest error {self.largest:.2g}"
        if self.failures:
            text += f"   {self.failures} arrays disagree"
        if self.refused:
            text += f"   {self.refused} cases refused"
        return text


@dataclass(frozen=True)
class ParityReport:
    """The outcome of one comparison of two engines; never true on nothing.

    With ``loss`` the candidate is lossy: that judges it against the reference, and the comparisons
    are of the candidate with itself, whole, in chunks, and each padded row alone.
    """

    reference: str
    candidate: str
    atol: float
    rtol: float
    comparisons: tuple[Comparison, ...] = field(repr=False)  # thousands of numbers
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)  # files, seed, versions
    loss: Loss | None = None

    @property
    def ok(self) -> bool:
        """Whether something was compared and every element is within its bound."""
        if self.loss is not None:
            return self.loss.ok and not self.failures
        return self.elements > 0 and not self.failures

    @property
    def elements(self) -> int:
        """How many pairs of numbers were compared."""
        return sum(item.elements for item in self.comparisons)

    @property
    def cases(self) -> int:
        """How many cases were compared."""
        return len({item.case for item in self.comparisons})

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """What disagrees, the worst first."""
        missed = [item for item in self.comparisons if not item.ok]
        return tuple(sorted(missed, key=severity, reverse=True))

    @property
    def worst(self) -> Comparison | None:
        """The comparison nearest to its bound, or furthest beyond it."""
        return max(self.comparisons, key=severity, default=None)

    @property
    def largest(self) -> float:
        """The largest absolute error of all."""
        return max((item.largest for item in self.comparisons), default=0.0)

    @property
    def needed_atol(self) -> float | None:
        """The absolute tolerance that would have passed; None where no tolerance would."""
        if any(item.problem is not None for item in self.comparisons):
            return None
        needed = max((item.needed_atol for item in self.comparisons), default=None)
        return None if needed is None or math.isinf(needed) else needed

    @property
    def widened(self) -> tuple[Comparison, ...]:
        """The comparisons whose bound is four times the reference's own rounding error."""
        return tuple(item for item in self.comparisons if item.widened is not None)

    def groups(self) -> tuple[Group, ...]:
        """Like cases together: by the way of running, lengths and states."""
        items: list[Comparison | Refusal] = [*self.comparisons, *self.refusals]
        parts = groupby(sorted(items, key=_group_key), key=_group_key)
        return tuple(_group(list(part)) for _, part in parts)

    def lines(self) -> Iterator[str]:
        """The report for a terminal: one line per group, then what matters about the whole."""
        bounds = f"(atol {self.atol:g}, rtol {self.rtol:g})"
        if self.loss is None:
            yield f"{self.candidate} against {self.reference} {bounds}"
        else:
            yield f"{self.candidate} against {self.reference}"
            yield from (f"  {line}" for line in self.loss.lines())
            yield f"{self.candidate} against itself {bounds}"
        yield from (f"  {group.line()}" for group in self.groups())
        yield from (f"  note: {note}" for note in self.remarks())
        if self.failures:
            yield f"  worst: {self.failures[0].describe()}"
        if self.failures and self.needed_atol is not None:
            yield f"  would have passed with --atol {_rounded_up(self.needed_atol):g}"
        yield f"  {self.summary()}"

    def remarks(self) -> Iterator[str]:
        """Whatever a reader must know to trust the verdict."""
        yield from self.notes
        if self.widened:
            loosest = max(item.widened or 0.0 for item in self.widened)
            yield (
                f"the bound of {len(self.widened)} arrays is four times the reference's own "
                f"rounding error against float64 (up to {loosest:.2g})"
            )
        for reason in dict.fromkeys(f"{item.engine}: {item.reason}" for item in self.refusals):
            yield f"refused by {reason}"

    def summary(self) -> str:
        """The verdict in one sentence."""
        if self.loss is not None and self.ok:
            return f"outputs within their limits: {len(self.loss.drift)}"
        if self.loss is not None and not self.loss.ok:
            return f"beyond their limits: {len(list(self.loss.failures()))}"
        if not self.comparisons or (self.elements == 0 and not self.failures):
            return "nothing was compared, and that is a failure"
        if not self.ok:
            return f"{len(self.failures)} of {len(self.comparisons)} arrays disagree"
        return (
            f"{self.elements:,} elements of {self.cases} cases agree; "
            f"largest error {self.largest:.2g}"
        )

    def to_json(self) -> str:
        """The report as one JSON document with ``schema_version``."""
        from rnnport.parity.document import document

        return json.dumps(document(self), ensure_ascii=False, allow_nan=False)


def _group_key(item: Comparison | Refusal) -> tuple[int, bool, bool]:
    return list(WAYS).index(item.way), item.case.ragged, item.case.states == "random"


def _group(items: Iterable[Comparison | Refusal]) -> Group:
    items = list(items)
    compared = tuple(item for item in items if isinstance(item, Comparison))
    words = [WAYS[items[0].way]]
    if items[0].case.ragged and items[0].way != "alone":
        words.append("random lengths")
    if items[0].case.states == "random":
        words.append("random states")
    return Group(
        name=", ".join(words),
        cases=len({item.case for item in compared}),
        refused=len({item.case for item in items if isinstance(item, Refusal)}),
        comparisons=compared,
    )


def _rounded_up(value: float) -> float:
    """Two digits, never less than the value."""
    if value <= 0.0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit) * unit:.2g}")
