"""Whether a repaired model is valid, loads, and answers as the one that it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from rnnport.errors import CheckFailedError, MissingExtraError, UnsupportedModelError
from rnnport.graph.axes import BATCH, axes_of
from rnnport.graph.check.rule import Effect
from rnnport.graph.check.sample import Sizes, feeds
from rnnport.graph.scopes import Node, Reading
from rnnport.graph.shapes import can_be_inferred

TOLERANCE = 1e-5  # atol and rtol where arithmetic may be done in another order
SHAPING = ("Reshape", "Expand", "Concat", "ConstantOfShape", "Tile")
MOST_STEPS, MOST_NUMBERS = 4096, 12  # of the sizes that are guessed where a file is frozen
Answers = dict[str, np.ndarray]


def prove(before: onnx.ModelProto, after: onnx.ModelProto, effect: Effect) -> float:
    """Compare a model with its repaired form, output by output in their order.

    Both run at the shapes of the model before. Where only the repaired model takes other sizes it
    is tried there as well, and the rows of a batch must not notice.

    Returns:
        the largest absolute difference of the answers.

    Raises:
        CheckFailedError: the repaired model is invalid, does not load, or answers otherwise.
        UnsupportedModelError: no engine runs the model before, or no feeds can be made.
    """
    _require_valid(after)
    old, new = Reading(before), Reading(after)
    runner = _session(after)
    if effect is Effect.CHANGES:
        sample = feeds(new, _sizes_that_run(old, _reference(before)[0]))
        answers = _run(runner, sample)
        if not all(np.isfinite(a).all() for a in answers if a.dtype.kind == "f"):
            raise CheckFailedError("the repaired model gives NaN or infinity")
        return 0.0
    reference, same_engine = _reference(before)
    exact = effect is Effect.EXACT and same_engine
    first = _sizes_that_run(old, reference)
    worst = 0.0
    for sizes in (first, Sizes(batch=1, time=1), Sizes(batch=3, time=7, other=6)):
        try:
            sample = feeds(old, sizes)
            wanted = reference(sample)
        except _DoesNotRunError:
            continue  # a size that the old model does not take proves nothing
        worst = max(worst, _compare(wanted, _run(runner, _known_to(new, sample)), exact))
    if _opened(old, new):
        _prove_any_size(new, runner)
        _prove_rows(old, new, reference, runner, first)
    elif effect is Effect.EXACT and not _takes_more_rows(old, new, reference, first):
        _prove_rows(old, new, reference, runner, first)
    return worst


def _takes_more_rows(old: Reading, new: Reading, reference: Any, first: Sizes) -> bool:
    """Whether the model before takes twice the rows, so that it was compared at other sizes."""
    try:
        reference(_twice(new, feeds(old, first)))
    except _DoesNotRunError:
        return False
    return True


def _sizes_that_run(old: Reading, reference: Any) -> Sizes:
    """Sizes that the model takes as it is: any, or those of the example that is frozen in it."""
    error: Exception | None = None
    for sizes in (Sizes(), *_frozen_sizes(old)):
        try:
            reference(feeds(old, sizes))
        except _DoesNotRunError as refused:
            error = error or refused
        else:
            return sizes
    raise UnsupportedModelError(f"no engine runs the model as it is: {error}") from error


def _frozen_sizes(old: Reading) -> Iterator[Sizes]:
    """Batches and times among the small whole numbers that the graph computes shapes with."""
    numbers: set[int] = set()
    for node in old.nodes():
        for name in node.proto.input if node.op in SHAPING else ():
            value = node.scope.array(name, largest=8)
            if value is not None and value.dtype.kind == "i":
                numbers.update(int(number) for number in value.reshape(-1))
    for tensor in old.main.input_names + old.main.output_names:
        numbers.update(n for n in old.main.shape(tensor) or () if isinstance(n, int))
    likely = sorted(number for number in numbers if 1 < number <= MOST_STEPS)[:MOST_NUMBERS]
    for batch in (2, 1, *likely):
        for time in likely:
            yield Sizes(batch=batch, time=time)
        yield Sizes(batch=batch)


def _prove_any_size(new: Reading, runner: Any) -> None:
    for sizes in (Sizes(batch=3, time=7), Sizes(batch=1, time=1), Sizes(batch=7, time=2)):
        _run(runner, feeds(new, sizes))


def _prove_rows(old: Reading, new: Reading, reference: Any, runner: Any, first: Sizes) -> None:
    """Twice the rows: the first half answers as it did alone. Files still frozen are let be."""
    small = feeds(old, first)
    wanted = reference(small)
    try:
        answers = _run(runner, _known_to(new, _twice(new, small)))
    except CheckFailedError:
        if _opened(old, new):
            raise
        return  # something else in the file holds the example's batch; another rule says so
    axes = axes_of(new)
    for name, answer, before in zip(new.main.output_names, answers, wanted, strict=False):
        axis = axes.find(new.main, name, BATCH)
        if axis is not None and answer.ndim == before.ndim:
            rows = answer.take(range(before.shape[axis]), axis)
            _compare([before], [rows], exact=False)


def _twice(new: Reading, sample: Answers) -> Answers:
    """The same rows twice, wherever an input has a batch axis."""
    axes, more = axes_of(new), {}
    for name, array in sample.items():
        axis = axes.find(new.main, name, BATCH)
        more[name] = array if axis is None else np.concatenate([array, array], axis)
    return more


def _opened(old: Reading, new: Reading) -> bool:
    """Whether some input has an axis that is symbolic now and was not before."""
    return any(
        isinstance(was, int) and not isinstance(now, int)
        for one, other in zip(old.main.input_names, new.main.input_names, strict=False)
        for was, now in zip(old.main.shape(one) or (), new.main.shape(other) or (), strict=False)
    )


def _known_to(new: Reading, sample: Answers) -> Answers:
    """The feeds that the repaired model still takes; an input that nothing read may be gone."""
    return {name: array for name, array in sample.items() if name in new.main.input_names}


def _require_valid(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=can_be_inferred(model))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CheckFailedError(f"the repaired model is not valid ONNX: {_line(error)}") from error
    except ValueError as error:
        raise UnsupportedModelError(f"the model is too large to be verified: {error}") from error


def _session(model: onnx.ModelProto) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "cpu", "verifying a repair") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the binding's errors have no base class of their own
        raise CheckFailedError(f"ONNX Runtime refuses the model: {_line(error)}") from error


def _run(session: Any, sample: Answers) -> list[np.ndarray]:
    try:
        return list(session.run(None, sample))
    except Exception as error:
        shapes = {name: list(array.shape) for name, array in sample.items()}
        raise CheckFailedError(
            f"the repaired model does not run at {shapes}: {_line(error)}"
        ) from error


class _DoesNotRunError(Exception):
    """The model before the repair does not run on these feeds."""


def _reference(model: onnx.ModelProto) -> tuple[Any, bool]:
    """What runs the model before: ONNX Runtime, or the standard's own evaluator where it cannot."""
    try:
        session = _session(model)
    except CheckFailedError:
        return _evaluator(model), False

    def run(sample: Answers) -> list[np.ndarray]:
        try:
            return list(session.run(None, sample))
        except Exception as error:
            raise _DoesNotRunError(_line(error)) from error

    return run, True


def _evaluator(model: onnx.ModelProto) -> Any:
    from onnx.reference import ReferenceEvaluator

    if any(_gathers_in_a_loop(node) for node in Reading(model).nodes()):
        raise UnsupportedModelError(
            "ONNX Runtime does not run the model as it is, and the standard's own evaluator joins "
            "what a Loop gives out along the wrong axis: nothing to compare with"
        )

    def run(sample: Answers) -> list[np.ndarray]:
        try:
            return [np.asarray(a) for a in ReferenceEvaluator(model).run(None, sample)]
        except Exception as error:
            raise _DoesNotRunError(_line(error)) from error

    return run


def _gathers_in_a_loop(node: Node) -> bool:
    """Whether a Loop gives out one piece for each of its turns."""
    return node.op == "Loop" and len(node.proto.output) > len(node.proto.input) - 2


def _compare(wanted: list[np.ndarray], found: list[np.ndarray], exact: bool) -> float:
    if not wanted or len(found) < len(wanted):
        raise CheckFailedError("the repaired model gives fewer outputs than before")
    worst = 0.0
    for index, (one, other) in enumerate(zip(wanted, found, strict=False)):
        if one.shape != other.shape or one.dtype != other.dtype:
            raise CheckFailedError(
                f"output {index} was {one.dtype}{list(one.shape)} and is "
                f"{other.dtype}{list(other.shape)} after the repair"
            )
        if one.dtype.kind != "f":
            same = np.array_equal(one, other)
            difference = 0.0 if same else float("inf")
        else:
            difference = float(np.max(np.abs(one - other), initial=0.0))
            bound = 0.0 if exact else TOLERANCE
            same = bool(np.allclose(one, other, rtol=bound, atol=bound, equal_nan=True))
        if not same:
            raise CheckFailedError(f"output {index} differs by {difference:.3g} after the repair")
        worst = max(worst, difference)
    return worst


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
