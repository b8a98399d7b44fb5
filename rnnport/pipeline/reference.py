"""What a model file is verified against: a run, a module, or another file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnport.errors import MissingExtraError, RequestError
from rnnport.parity.promises import differences
from rnnport.runtime.engine import Engine, open_engine
from rnnport.runtime.metadata import read_spec
from rnnport.spec import ModelSpec, TensorSpec

if TYPE_CHECKING:
    from torch import nn

NO_METADATA = (
    "a file without rnnport's metadata: its axes are inferred, and no state is carried from one "
    "piece to the next",
)


@dataclass(frozen=True)
class Reference:
    """An engine that says what is right, and what it promises."""

    engine: Engine
    spec: ModelSpec  # what the grid is drawn from
    precise: Engine | None = None
    notes: tuple[str, ...] = ()
    own: ModelSpec | None = None  # what the reference's file says of itself
    time: int | None = None  # a typical number of steps
    promises: tuple[str, ...] = ()  # where the file's own spec differs from what it must say


def of_run(path: Path, own: ModelSpec | None, folder: Path) -> Reference:
    """PyTorch's own kernels on the module of a run folder, in float32 and in float64."""
    try:
        import torch

        from rnnport.porting.oracle import TorchEngine
        from rnnport.training.run import load_run
    except ImportError as error:
        raise MissingExtraError.of(error, f"verifying against {folder}") from error
    run = load_run(folder)
    spec = run.spec if own is None else _promised(run.spec, own)
    require_same_interface(own or _infer(path), run.spec, str(folder), states=False)
    module = run.streaming if spec.streaming else run.module
    single, double = (
        TorchEngine(module, spec, stream=spec.streaming, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    inputs = (run.example[tensor.name] for tensor in run.spec.data_inputs())
    time = max(int(array.shape[1]) for array in inputs)
    if own is None:
        return Reference(single, spec, double, NO_METADATA, time=time)
    return Reference(single, spec, double, time=time, promises=differences(own, spec))


def _promised(run: ModelSpec, own: ModelSpec) -> ModelSpec:
    """What the file of a run must promise: the run's own words, and the states that were lifted.

    The file under test may say nothing of what it is asked; a recipe's states begin at zero.
    """
    states = tuple(replace(state, initial=0.0) for state in own.states)
    names = {state.input for state in states}
    lifted = tuple(tensor for tensor in own.inputs if tensor.name in names)
    return replace(run, inputs=(*run.inputs, *lifted), outputs=own.outputs, states=states)


def of_file(path: Path, own: ModelSpec | None, other: Path) -> Reference:
    """Another model file, on ONNX Runtime's CPU kernels."""
    if not other.exists():
        raise RequestError(
            f"--against {other} does not exist; expected a run folder, file.py:factory or an ONNX "
            "file (.onnx)"
        )
    theirs = read_spec(other)
    require_same_interface(
        own or _infer(path), theirs or _infer(other), str(other), states=bool(own and theirs)
    )
    spec = theirs or own
    notes = () if spec else NO_METADATA
    promises = differences(own, theirs) if own and theirs else ()
    engine = open_engine("ort-cpu", str(other))
    return Reference(engine, spec or _infer(path), notes=notes, own=theirs, promises=promises)


def of_module(
    path: Path,
    own: ModelSpec | None,
    module: nn.Module,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Reference:
    """PyTorch's own kernels on a user's module, its kept states and those of its cells included."""
    from rnnport.porting.reference import reference_of

    made = reference_of(module, own or _infer(path), args, kwargs)
    if own is None:
        return Reference(made.single, made.spec, made.double, NO_METADATA)
    promises = differences(own, made.spec)
    return Reference(made.single, made.spec, made.double, promises=promises)


def of_factory(
    path: Path,
    own: ModelSpec | None,
    source: str,
    *,
    inputs: Sequence[str] | None = None,
    settings: Sequence[str] | None = None,
    weights: str | Path | None = None,
) -> Reference:
    """The module that ``file.py:factory`` gives, as ``rnnport export`` makes it."""
    try:
        from rnnport.porting.factory_name import factory_name
        from rnnport.porting.input_spec import make_example, read_inputs
        from rnnport.porting.loading import load_weights, make_module
    except ImportError as error:
        raise MissingExtraError.of(error, f"verifying against {source}") from error
    name = factory_name(source)
    assert name is not None  # the caller told it from a path
    example = make_example(read_inputs(inputs)) if inputs else None
    module = make_module(name, settings or ())
    if weights is not None:
        load_weights(module, Path(weights))
    module.float()  # what the file computes in; a factory may give float64
    module.float()  # what the file computes in; a factory may give float64
    return of_module(path, own, module, example)


def _infer(path: Path) -> ModelSpec:
    from rnnport.graph.inference import infer_spec

    return infer_spec(path)


def require_same_interface(
    spec: ModelSpec, other: ModelSpec, where: str, states: bool = True
) -> None:
    """Refuse to compare models that take or give different things.

    With ``states`` false, one side does not tell its states from other inputs and outputs, or has
    none yet (a run folder): they are left out where the other side names them.

    Raises:
        RequestError: says which inputs, outputs or states differ.
    """
    known = (*spec.states, *other.states)
    taken = set() if states else {state.input for state in known}
    given = set() if states else {state.output for state in known}
    pairs: list[tuple[str, object, object]] = [
        ("inputs", _interface(spec.inputs, taken), _interface(other.inputs, taken)),
        ("outputs", _interface(spec.outputs, given), _interface(other.outputs, given)),
    ]
    if states:
        ours, theirs = (sorted((s.input, s.output) for s in each.states) for each in (spec, other))
        pairs += [("states", ours, theirs), ("lengths", spec.lengths, other.lengths)]
    for what, mine, its in pairs:
        if mine != its:
            raise RequestError(
                f"the model cannot be compared with {where}: its {what} are {mine or 'none'}, "
                f"there they are {its or 'none'}"
            )


def _interface(tensors: Iterable[TensorSpec], leave_out: set[str]) -> dict[str, str]:
    """Names with dtypes; the streaming form of an answer has a time axis more."""
    return {tensor.name: tensor.dtype for tensor in tensors if tensor.name not in leave_out}
