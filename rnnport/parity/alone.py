"""Whether each padded row of a batch is answered as the same sequence alone is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from rnnport.parity import feeds as drawn
from rnnport.parity.arrays import Place, Tolerance, compare_arrays, failed
from rnnport.parity.cases import Case
from rnnport.parity.finding import Comparison, Refusal, more_severe
from rnnport.parity.running import run
from rnnport.runtime.engine import Arrays, Engine
from rnnport.spec import ModelSpec

Array = NDArray[Any]

WAY = "alone"


def rows_alone(
    engines: tuple[Engine, Engine],
    spec: ModelSpec,
    case: Case,
    feeds: Arrays,
    tolerance: Tolerance,
) -> tuple[list[Comparison], list[Refusal], list[str]]:
    """Compare the candidate's padded rows with the same rows alone; padding must change nothing.

    ``engines`` are the reference and the candidate. Where padding changes the reference's own
    answer too (a module that averages over the padding, say) the candidate is right to do the
    same: that output is not judged, and a note says so.
    """
    reference, candidate = engines
    ours = _alone(candidate, spec, case, feeds, tolerance)
    if isinstance(ours, Refusal):
        return [], [ours], []
    if all(item.ok for item in ours):
        return ours, [], []
    theirs = _alone(reference, spec, case, feeds, tolerance)
    if isinstance(theirs, Refusal):
        return ours, [], []
    excused = {item.output for item in theirs if not item.ok and item.problem is None}
    notes = [
        f"padding changes '{name}' in {reference.name} itself: it is not judged row by row"
        for name in sorted(excused)
    ]
    return [item for item in ours if item.output not in excused], [], notes


def _alone(
    engine: Engine, spec: ModelSpec, case: Case, feeds: Arrays, tolerance: Tolerance
) -> list[Comparison] | Refusal:
    padded = run(engine, feeds)
    if padded.arrays is None:
        return Refusal(case, WAY, engine.name, padded.reason)
    found: dict[str, Comparison] = {}
    for row, length in enumerate(case.lengths or ()):
        answers = run(engine, drawn.rows(spec, feeds, row, _steps(spec, length, case.time)))
        if answers.refusal is not None:
            return Refusal(case, WAY, engine.name, answers.refusal)
        if answers.arrays is None:
            problem = f"row {row} alone did not run: {answers.failure}"
            return [failed(Place(case, WAY, "every output"), problem)]
        for item in _row(spec, case, row, padded.arrays, answers.arrays, tolerance):
            before = found.get(item.output)
            found[item.output] = item if before is None else more_severe(before, item)
    return list(found.values())


def _steps(spec: ModelSpec, length: int, longest: int) -> int:
    """The shortest padding that the model accepts for a row of this length."""
    return next((n for n in range(length, longest) if spec.time.accepts(n)), longest)


def _row(
    spec: ModelSpec,
    case: Case,
    row: int,
    padded: Mapping[str, Array],
    alone: Mapping[str, Array],
    tolerance: Tolerance,
) -> list[Comparison]:
    """Each output of one row, as far in time as the row alone goes."""
    states = {state.output: spec.batch_axis(state) for state in spec.states}
    found = []
    for tensor in spec.outputs:
        axis = states.get(tensor.name, tensor.batch_axis)
        if axis is None or tensor.name not in padded or tensor.name not in alone:
            continue
        expected = alone[tensor.name]
        actual = drawn.take(padded[tensor.name], axis, row, row + 1)
        if tensor.time_axis is not None and expected.ndim > tensor.time_axis:
            actual = drawn.take(actual, tensor.time_axis, 0, expected.shape[tensor.time_axis])
        place = Place(case, WAY, tensor.name, tensor.time_axis)
        found.append(_moved(compare_arrays(place, expected, actual, tolerance), axis, row))
    return found


def _moved(item: Comparison, axis: int, row: int) -> Comparison:
    """The comparison with its worst element's index in the batch."""
    if item.worst is None:
        return item
    index = item.worst.index
    return replace(item, worst=replace(item.worst, index=(*index[:axis], row, *index[axis + 1 :])))
