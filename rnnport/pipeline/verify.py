"""Verifying a model file against the run that it came from, or against another model file."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import rnnport
from rnnport.errors import (
    DeviceError,
    MissingExtraError,
    RequestError,
    UnsupportedModelError,
)
from rnnport.parity.cases import Case, grid
from rnnport.parity.compare import compare
from rnnport.parity.finding import Refusal
from rnnport.parity.loss import Limits
from rnnport.parity.promises import differences
from rnnport.parity.report import ParityReport
from rnnport.parity.verification import Missing, Verification
from rnnport.pipeline.lossy import held_to_bounds, judge, judged, lossy
from rnnport.runtime.engine import ENGINES, Engine, open_engine
from rnnport.runtime.metadata import read_spec
from rnnport.spec import ModelSpec, TensorSpec

NO_METADATA = (
    "a file without rnnport's metadata: its axes are inferred, and no state is carried from one "
    "piece to the next",
)
Watch = Callable[[str, Sequence[Case]], Iterable[Case]]  # an engine's name and its cases → the same


def verify(
    path: str | Path,
    against: str | Path,
    *,
    engines: Sequence[str] = ("ort-cpu",),
    atol: float = 1e-5,
    rtol: float = 1e-5,
    seed: int = 0,
    time: int | None = None,
    min_agreement: float = Limits.min_agreement,
    max_drift_ratio: float = Limits.max_drift_ratio,
    watch: Watch | None = None,
) -> Verification:
    """Compare a model file with PyTorch, or with another model file, over a seeded grid.

    A quantized file is compared with itself over the grid; against its parent it is judged by its
    decisions and by its drift beside the one that it records.

    Args:
        path: the model file.
        against: the run folder that it was exported from (the reference is then PyTorch's own
            kernels, with a float64 run for its rounding error), or another ``.onnx`` file.
        engines: the engines to run the file on; one that is not installed, or whose device is not
            here, is named in ``Verification.missing`` after the others ran.
        atol: absolute tolerance.
        rtol: tolerance relative to the reference's value.
        seed: of the grid and of what is fed.
        time: T of the grid's times 1, 2, T, 3T; by default that of the run's example, else 10.
        min_agreement: the least share of a quantized file's decisions that are its parent's.
        max_drift_ratio: how many times its recorded drift a quantized file may show.
        watch: is given each engine's name and cases before they run, and gives them back one by
            one, so that a program can show progress.

    Raises:
        RequestError: a path is missing, an engine is unknown, the two do not fit together.
        ModelFileError: a file cannot be read.
        SpecVersionError: a file was written for a newer rnnport.
        MissingExtraError: what runs the reference is not installed.
    """
    path, against = Path(path), Path(against)
    _check_request(engines, atol, rtol, time)
    limits = Limits(min_agreement, max_drift_ratio)
    own = read_spec(path)
    reference = _run(path, own, against) if against.is_dir() else _file(path, own, against)
    found = lossy(path, own, against, reference.own)
    notes = reference.notes
    if found is not None and not judged(found, reference.spec):
        notes, found = (*notes, held_to_bounds(found)), None
    if found is not None and _another_parent(own, against):
        notes = (*notes, f"the file was made from another than {against}, by its sha256")
    cases = grid(reference.spec, seed, time or reference.time)
    reports: list[ParityReport] = []
    missing: list[Missing] = []
    for name in dict.fromkeys(engines):
        try:
            candidate = open_engine(name, str(path))
        except (MissingExtraError, DeviceError) as error:
            missing.append(Missing(name, str(error)))
            continue
        except UnsupportedModelError as error:
            refusals = tuple(Refusal(case, "whole", name, str(error)) for case in cases)
            reports.append(ParityReport(reference.engine.name, name, atol, rtol, (), refusals))
            continue
        watched = cases if watch is None else watch(name, cases)
        if found is not None:
            sides = reference.engine, candidate
            report = judge(sides, reference.spec, found, watched, limits, (atol, rtol))
        else:
            report = _compared(reference, candidate, watched, (atol, rtol))
        reports.append(replace(report, notes=(*notes, *report.notes)))
    facts = _facts(path, against, seed)
    return Verification(
        model=str(path),
        against=str(against),
        reports=tuple(reports),
        missing=tuple(missing),
        promises=reference.promises,
        facts=facts,
    )


@dataclass(frozen=True)
class _Reference:
    engine: Engine
    spec: ModelSpec  # what the grid is drawn from
    precise: Engine | None = None
    notes: tuple[str, ...] = ()
    own: ModelSpec | None = None  # what the reference's file says of itself
    time: int | None = None  # a typical number of steps
    promises: tuple[str, ...] = ()  # where the file's own spec differs from what it must say


def _compared(
    reference: _Reference, candidate: Engine, cases: Iterable[Case], bounds: tuple[float, float]
) -> ParityReport:
    return compare(
        reference.engine,
        candidate,
        cases,
        atol=bounds[0],
        rtol=bounds[1],
        precise=reference.precise,
        spec=reference.spec,
    )


def _check_request(engines: Sequence[str], atol: float, rtol: float, time: int | None) -> None:
    if not engines:
        raise RequestError(f"no engine was asked for; there are {', '.join(ENGINES)}")
    for name in engines:
        if name not in ENGINES:
            raise RequestError(f"unknown engine '{name}'; there are {', '.join(ENGINES)}")
    for option, value in (("--atol", atol), ("--rtol", rtol)):
        if not (value >= 0.0 and np.isfinite(value)):
            raise RequestError(f"{option} is {value}; expected a number of at least 0")
    if time is not None and time < 1:
        raise RequestError(f"--time is {time}; expected at least one step")


def _run(path: Path, own: ModelSpec | None, folder: Path) -> _Reference:
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
        return _Reference(single, spec, double, NO_METADATA, time=time)
    return _Reference(single, spec, double, time=time, promises=differences(own, spec))


def _promised(run: ModelSpec, own: ModelSpec) -> ModelSpec:
    """What the file of a run must promise: the run's own words, and the states that were lifted.

    The file under test may say nothing of what it is asked; a recipe's states begin at zero.
    """
    states = tuple(replace(state, initial=0.0) for state in own.states)
    names = {state.input for state in states}
    lifted = tuple(tensor for tensor in own.inputs if tensor.name in names)
    return replace(run, inputs=(*run.inputs, *lifted), outputs=own.outputs, states=states)


def _file(path: Path, own: ModelSpec | None, other: Path) -> _Reference:
    """Another model file, on ONNX Runtime's CPU kernels."""
    if not other.exists():
        raise RequestError(
            f"--against {other} does not exist; expected a run folder or an ONNX file (.onnx)"
        )
    theirs = read_spec(other)
    require_same_interface(
        own or _infer(path), theirs or _infer(other), str(other), states=bool(own and theirs)
    )
    spec = theirs or own
    notes = () if spec else NO_METADATA
    promises = differences(own, theirs) if own and theirs else ()
    engine = open_engine("ort-cpu", str(other))
    return _Reference(engine, spec or _infer(path), notes=notes, own=theirs, promises=promises)


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


def _another_parent(own: ModelSpec | None, against: Path) -> bool:
    told = None if own is None else own.provenance.get("parent_sha256")
    return told is not None and against.is_file() and told != _sha256(against)


def _facts(path: Path, against: Path, seed: int) -> dict[str, object]:
    checksums = {
        f"{name}_sha256": _sha256(file)
        for name, file in (("model", path), ("against", against))
        if file.is_file()
    }
    versions = {"rnnport": rnnport.__version__, "python": platform.python_version()}
    return {"seed": seed, **checksums, **versions, "platform": platform.platform()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
