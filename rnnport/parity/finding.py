"""What one comparison of two arrays found, or why it did not take place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from rnnport.parity.cases import Case

WAYS = {
    "whole": "whole sequences",
    "chunked": "in chunks",
    "alone": "each padded row alone",
}


@dataclass(frozen=True)
class Element:
    """One element of an output: what was expected, what came, and how far apart they may be."""

    index: tuple[int, ...]
    reference: float
    candidate: float
    error: float
    bound: float

    @property
    def excess(self) -> float:
        """The error as a multiple of the bound: above 1 is a miss."""
        if self.error <= 0.0:
            return 0.0
        return self.error / self.bound if self.bound > 0.0 else math.inf


@dataclass(frozen=True)
class Comparison:
    """One output of one case, run one way (whole, chunked, or each padded row alone).

    ``needed_atol`` is the smallest absolute tolerance that passes at the relative one given;
    ``profile`` the largest error of each time step, empty where the output has no time axis;
    ``widened`` the bound that four times the reference's own rounding error gave.
    """

    case: Case
    way: str
    output: str
    elements: int = 0
    problem: str | None = None
    worst: Element | None = None
    largest: float = 0.0
    needed_atol: float = 0.0
    widened: float | None = None
    profile: tuple[float, ...] = ()
    first_beyond: int | None = None  # the first time step with an error beyond its bound

    @property
    def ok(self) -> bool:
        """Whether every element is within its bound."""
        return self.problem is None and (self.worst is None or self.worst.excess <= 1.0)

    def quarters(self) -> tuple[float, float, float] | None:
        """The largest error in the first quarter, the middle half and the last quarter of time."""
        steps = len(self.profile)
        if steps < 4:
            return None
        edge = steps // 4
        first, last = self.profile[:edge], self.profile[steps - edge :]
        return max(first), max(self.profile[edge : steps - edge]), max(last)

    def describe(self) -> str:
        """The finding in words, for a person who has to repair it."""
        where = f"{self.output} ({WAYS[self.way]}; {self.case})"
        if self.problem is not None:
            return f"{where}: {self.problem}"
        if self.worst is None:
            return f"{where}: nothing to compare"
        worst = self.worst
        text = (
            f"{where}: at {list(worst.index)} {worst.reference:.9g} was expected, "
            f"{worst.candidate:.9g} came: error {worst.error:.3g}, bound {worst.bound:.3g}"
        )
        return text + self._growth()

    def _growth(self) -> str:
        quarters = self.quarters()
        text = ""
        if quarters is not None:
            first, middle, last = quarters
            text = f"; largest error in time: first quarter {first:.2g}, middle {middle:.2g}, last"
            text += f" quarter {last:.2g}"
        if self.first_beyond is not None:
            text += f"; first beyond its bound at step {self.first_beyond}"
        return text


@dataclass(frozen=True)
class Refusal:
    """A case that an engine would not answer."""

    case: Case
    way: str
    engine: str
    reason: str


def more_severe(one: Comparison, other: Comparison) -> Comparison:
    """Two comparisons as one: the worse of the two speaks for both."""
    worse = max(one, other, key=severity)
    return replace(
        worse,
        elements=one.elements + other.elements,
        largest=max(one.largest, other.largest),
        needed_atol=max(one.needed_atol, other.needed_atol),
    )


def severity(item: Comparison) -> float:
    """How far beyond its bound the worst element is; a wrong shape is beyond every bound."""
    if item.problem is not None:
        return math.inf
    return 0.0 if item.worst is None else item.worst.excess
