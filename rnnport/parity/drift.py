"""How far a lossy file strays from the one that it was made from, over time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnport.errors import CheckFailedError, ModelFileError, UnsupportedModelError
from rnnport.parity import feeds as drawn
from rnnport.parity.arrays import absolute_errors, magnitude, mismatch
from rnnport.parity.cases import Case
from rnnport.runtime.engine import Arrays, Engine
from rnnport.spec import ModelSpec

Array = NDArray[Any]
QUARTERS = 4
DIGITS = 6  # significant ones, in the recorded form
CLEAR = 0.1  # of the usual distance from the smallest to the largest element


@dataclass(frozen=True)
class Drift:
    """How far one output strays from the reference's, over all elements of all cases.

    ``rms`` and ``max`` are of the absolute error; ``scale`` is the RMS of the reference's values.
    ``quarters`` are the RMS errors of the four quarters of time, first to last, None for an output
    without steps. ``agreement`` is the share of ``decisions`` that are the same, None where there
    are none: a classifier's answer decides by the largest element of its last axis, where the
    reference's leads by a tenth of the usual distance from the smallest to the largest (drawn
    inputs leave it undecided more often than real ones); whole numbers and flags are decisions
    themselves, and have no error.
    """

    rms: float = 0.0
    max: float = 0.0
    scale: float = 0.0
    quarters: tuple[float, ...] | None = None
    agreement: float | None = None
    decisions: int = 0

    @property
    def relative(self) -> float:
        """The RMS error as a part of the reference's own size; 0 where that is zero."""
        return self.rms / self.scale if self.scale > 0.0 else 0.0

    def describe(self) -> str:
        """The drift in words: whole numbers have decisions alone."""
        words = []
        if self.scale > 0.0 or self.agreement is None:
            words = [
                f"{self.rms:.2g} RMS ({self.relative:.2%} of its size)",
                f"{self.max:.2g} at most",
            ]
        if self.quarters is not None:
            first, *middle, last = self.quarters
            between = (sum(value**2 for value in middle) / len(middle)) ** 0.5
            words.append(f"in time {first:.2g}, {between:.2g}, {last:.2g}")
        if self.agreement is not None:
            words.append(f"{self.agreement:.2%} of {self.decisions} decisions agree")
        return ", ".join(words)


def measure_drift(
    reference: Engine,
    candidate: Engine,
    cases: Iterable[Case],
    spec: ModelSpec | None = None,
    refused: list[str] | None = None,
) -> dict[str, Drift]:
    """Run both engines over ``cases`` (of ``cases.drift_cases``) and measure every output.

    A case without chunks runs whole. A case with chunks runs piece by piece, each side with its
    own states fed back to it, so that errors add up as they do in use; every piece draws inputs of
    its own, and a state counts once a piece, at its end.

    Args:
        reference: the file before.
        candidate: its lossy twin.
        cases: what to run.
        spec: what the model takes and gives; by default what the reference says.
        refused: takes why an engine refused a case, which then counts for nothing; by default a
            refusal is raised.

    Returns:
        the drift of each output and successor state by name; empty where no case was run.

    Raises:
        CheckFailedError: the candidate has other outputs, NaN, another dtype or another shape.
        RnnportError: an engine refuses or fails.
    """
    spec = reference.spec() if spec is None else spec
    axes = {tensor.name: tensor.time_axis for tensor in spec.outputs}
    deciding = {tensor.name for tensor in spec.answers() if _decides(spec, tensor.shape)}
    sums: dict[str, _Sum] = {}
    for case in cases:
        try:
            pieces = list(_alike_pieces(reference, candidate, spec, case))
        except UnsupportedModelError as error:
            if refused is None:
                raise
            refused.append(str(error))
            continue
        for span, expected, found in pieces:
            for name, array in expected.items():
                total = sums.setdefault(name, _Sum())
                total.add(array, found[name], axes.get(name), span)
                if name in deciding:
                    clear = _is_clear(array)
                    total.decide((array.argmax(-1) == found[name].argmax(-1))[clear])
    return {name: total.drift() for name, total in sums.items()}


def decides(spec: ModelSpec) -> bool:
    """Whether a model's answers are, or hold, decisions that can agree."""
    return any(
        _decides(spec, tensor.shape) or not tensor.dtype.startswith("float")
        for tensor in spec.answers()
    )


def to_record(drift: Mapping[str, Drift]) -> dict[str, Any]:
    """The drift as it stands in a spec, under ``quantization["drift"]``: values that JSON holds."""
    return {name: {k: _short(v) for k, v in asdict(each).items()} for name, each in drift.items()}


def from_record(record: Any) -> dict[str, Drift]:
    """Read what :func:`to_record` wrote; unknown keys are ignored.

    Raises:
        ModelFileError: it is no such record.
    """
    try:
        return {str(name): _drift(each) for name, each in record.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"the recorded drift is damaged: {error!r}") from error


Span = tuple[float, float] | None  # the part of its sequence that a piece covers; None: a whole one


def _pieces(
    reference: Engine, candidate: Engine, spec: ModelSpec, case: Case
) -> Iterator[tuple[Span, Arrays, Arrays]]:
    """What both sides answer to each piece."""
    if case.chunks is None:
        feeds = drawn.draw(spec, case)
        yield None, reference.run(feeds), candidate.run(feeds)
        return
    draw = random.Random(case.seed)
    ours: Arrays = {}
    theirs: Arrays = {}
    start = 0
    for size in case.chunks:
        piece = Case(case.batch, size, seed=draw.randrange(2**32), states=case.states)
        feeds = drawn.draw(spec, piece)  # initial states, which those of a later piece replace
        theirs = reference.run({**feeds, **_successors(spec, theirs)})
        ours = candidate.run({**feeds, **_successors(spec, ours)})
        yield (start / case.time, (start + size) / case.time), theirs, ours
        start += size


def _alike_pieces(
    reference: Engine, candidate: Engine, spec: ModelSpec, case: Case
) -> Iterator[tuple[Span, Arrays, Arrays]]:
    for span, expected, found in _pieces(reference, candidate, spec, case):
        _require_alike(expected, found, case)
        yield span, expected, found


def _successors(spec: ModelSpec, answers: Arrays) -> dict[str, Array]:
    if not answers:
        return {}
    missing = [state.output for state in spec.states if state.output not in answers]
    if missing:
        raise CheckFailedError(f"the successor states {missing} are not among the outputs")
    return {state.input: answers[state.output] for state in spec.states}


def _require_alike(expected: Arrays, found: Arrays, case: Case) -> None:
    if set(expected) != set(found):
        raise CheckFailedError(
            f"the reference gives {sorted(expected)}, the candidate {sorted(found)} ({case})"
        )
    for name, array in expected.items():
        problem = mismatch(array, found[name])
        if problem is not None:
            raise CheckFailedError(f"{name} ({case}): {problem}")


def _decides(spec: ModelSpec, shape: tuple[int | str, ...]) -> bool:
    return spec.task == "classify" and bool(shape) and shape[-1] == len(spec.classes) > 1


def _is_clear(scores: Array) -> Array:
    """Where the largest element of the last axis leads the second by enough to be a decision."""
    ordered = np.sort(scores, axis=-1)
    lead, distance = ordered[..., -1] - ordered[..., -2], ordered[..., -1] - ordered[..., 0]
    return np.asarray(lead >= CLEAR * distance.mean())


@dataclass
class _Sum:
    """Errors of one output, added up."""

    squares: float = 0.0
    values: float = 0.0  # squares of the reference
    elements: int = 0
    largest: float = 0.0
    agreed: int = 0
    decisions: int = 0
    by_quarter: Array = field(default_factory=lambda: np.zeros((2, QUARTERS)))  # squares, elements

    def add(self, expected: Array, found: Array, axis: int | None, span: Span) -> None:
        if expected.dtype.kind != "f":
            self.decide(expected == found)
            return
        errors = absolute_errors(expected, found)
        squares = errors**2
        self.squares += float(squares.sum())
        self.values += float((magnitude(expected) ** 2).sum())
        self.elements += errors.size
        self.largest = max(self.largest, float(errors.max(initial=0.0)))
        start, stop = span or (0.0, 1.0)
        if axis is not None and axis < squares.ndim:
            steps = squares.shape[axis]
            others = tuple(i for i in range(squares.ndim) if i != axis)
            at = start + (np.arange(steps) + 0.5) / max(1, steps) * (stop - start)
            per_step = squares.sum(axis=others), np.full(steps, squares.size // max(1, steps))
        elif span is not None:  # at the end of its piece
            at, per_step = np.array([stop]), (np.array([squares.sum()]), np.array([squares.size]))
        else:
            return
        quarter = np.minimum((at * QUARTERS - 1e-9).astype(int), QUARTERS - 1)
        for row, amounts in zip(self.by_quarter, per_step, strict=True):
            np.add.at(row, quarter, amounts)

    def decide(self, same: Array) -> None:
        self.agreed += int(np.count_nonzero(same))
        self.decisions += same.size

    def drift(self) -> Drift:
        squares, elements = self.by_quarter
        means = squares / np.maximum(1, elements)
        count = max(1, self.elements)
        return Drift(
            rms=(self.squares / count) ** 0.5,
            max=self.largest,
            scale=(self.values / count) ** 0.5,
            quarters=tuple(float(mean) ** 0.5 for mean in means) if elements.any() else None,
            agreement=self.agreed / self.decisions if self.decisions else None,
            decisions=self.decisions,
        )


def _short(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_short(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _drift(each: Mapping[str, Any]) -> Drift:
    quarters, agreement = each.get("quarters"), each.get("agreement")
    if quarters is not None and len(quarters) != QUARTERS:
        raise ValueError(f"{len(quarters)} quarters")
    return Drift(
        rms=float(each["rms"]),
        max=float(each["max"]),
        scale=float(each["scale"]),
        quarters=None if quarters is None else tuple(float(value) for value in quarters),
        agreement=None if agreement is None else float(agreement),
        decisions=int(each.get("decisions", 0)),
    )
