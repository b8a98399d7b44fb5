"""Whether two engines give the same answers: runs every case on both, then compares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from rnnport.errors import RequestError
from rnnport.parity import feeds as drawn
from rnnport.parity.alone import rows_alone
from rnnport.parity.arrays import Place, Tolerance, compare_arrays, failed
from rnnport.parity.cases import Case
from rnnport.parity.finding import Comparison, Refusal
from rnnport.parity.report import ParityReport
from rnnport.parity.running import Answers, run, run_chunked
from rnnport.runtime.engine import Arrays, Engine
from rnnport.spec import ModelSpec

Array = NDArray[Any]


def compare(
    reference: Engine,
    candidate: Engine,
    cases: Iterable[Case],
    *,
    atol: float = 1e-5,
    rtol: float = 1e-5,
    precise: Engine | None = None,
    excusing: Engine | None = None,
    spec: ModelSpec | None = None,
) -> ParityReport:
    """Compare outputs and final states of two engines over ``cases``.

    The reference runs each case whole. The candidate runs it whole, and piece by piece where the
    case has chunks and the model carries states; each row that a case pads is compared with the
    same row alone, which asks the candidate about itself. ``precise`` answers in float64: where
    four times the reference's own error exceeds the bound, that is the bound. Where padding changes
    the answers of ``excusing`` (by default the reference) it may change the candidate's. ``spec``
    says what the model takes and gives where the candidate's own spec knows less.

    A case that an engine refuses counts neither as passed nor as failed; where nothing at all was
    compared the report fails.

    Raises:
        RequestError: the engines take different inputs.
    """
    _check_inputs(reference, candidate)
    tolerance = Tolerance(atol, rtol)
    spec = candidate.spec() if spec is None else spec
    comparisons: list[Comparison] = []
    refusals: list[Refusal] = []
    notes: list[str] = []
    for case in cases:
        feeds = drawn.draw(spec, case)
        expected = run(reference, feeds)
        if expected.arrays is None:
            refusals.append(Refusal(case, "whole", reference.name, expected.reason))
            continue
        exact = Answers() if precise is None else run(precise, feeds)
        for way, answers in _ways(candidate, spec, case, feeds):
            if answers.refusal is not None:
                refusals.append(Refusal(case, way, candidate.name, answers.refusal))
            else:
                comparisons += _paired(
                    Place(case, way, "every output"),
                    _time_axes(spec),
                    (expected.arrays, answers, exact.arrays or {}),
                    tolerance,
                )
        if case.ragged:
            alone, refused, remarks = rows_alone(
                (excusing or reference, candidate), spec, case, feeds, tolerance
            )
            comparisons += alone
            refusals += refused
            notes += remarks
    return ParityReport(
        reference=reference.name,
        candidate=candidate.name,
        atol=atol,
        rtol=rtol,
        comparisons=tuple(comparisons),
        refusals=tuple(refusals),
        notes=tuple(dict.fromkeys(notes)),
    )


def _check_inputs(reference: Engine, candidate: Engine) -> None:
    ours = {tensor.name for tensor in candidate.spec().inputs}
    theirs = {tensor.name for tensor in reference.spec().inputs}
    if ours != theirs:
        raise RequestError(
            f"{reference.name} takes {sorted(theirs)}, {candidate.name} takes {sorted(ours)}: "
            "they cannot be fed the same"
        )


def _ways(
    candidate: Engine, spec: ModelSpec, case: Case, feeds: Arrays
) -> Iterator[tuple[str, Answers]]:
    yield "whole", run(candidate, feeds)
    if case.chunks is not None and spec.streaming:
        yield "chunked", run_chunked(candidate, spec, case.chunks, feeds)


def _time_axes(spec: ModelSpec) -> dict[str, int | None]:
    return {tensor.name: tensor.time_axis for tensor in spec.outputs}


def _paired(
    place: Place,
    time_axes: Mapping[str, int | None],
    sides: tuple[Mapping[str, Array], Answers, Mapping[str, Array]],
    tolerance: Tolerance,
) -> Iterator[Comparison]:
    """Every output of either side, strictly by name."""
    expected, answers, exact = sides
    if answers.arrays is None:
        yield failed(place, f"did not run: {answers.failure}")
        return
    for name in sorted({*expected, *answers.arrays}):
        here = replace(place, output=name, time_axis=time_axes.get(name))
        if name in expected and name in answers.arrays:
            ours, theirs = answers.arrays[name], expected[name]
            yield compare_arrays(here, theirs, ours, tolerance, exact.get(name))
        else:
            lacking = "candidate" if name in expected else "reference"
            yield failed(here, f"the {lacking} has no such output")
