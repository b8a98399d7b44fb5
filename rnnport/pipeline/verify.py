"""Verifying a model file against the run or module that it came from, or another model file."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from rnnport.parity.report import ParityReport
from rnnport.parity.verification import Missing, Verification
from rnnport.pipeline.lossy import held_to_bounds, judge, judged, lossy
from rnnport.pipeline.reference import Reference, of_factory, of_file, of_module, of_run
from rnnport.porting.factory_name import factory_name
from rnnport.runtime.engine import ENGINES, Engine, open_engine
from rnnport.runtime.metadata import read_spec
from rnnport.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

Watch = Callable[[str, Sequence[Case]], Iterable[Case]]  # an engine's name and its cases → the same


def verify(
    path: str | Path,
    against: str | Path | nn.Module,
    args: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    inputs: Sequence[str] = (),
    settings: Sequence[str] = (),
    weights: str | Path | None = None,
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
        against: what it was exported from: a run folder, a module, or ``file.py:factory`` (the
            reference is then PyTorch's own kernels, with a float64 run for its rounding error);
            or another ``.onnx`` file.
        args: of a module, example arguments as for ``export``; by default they are drawn for the
            file's inputs.
        kwargs: of a module, further example arguments by name.
        inputs: of a factory, the inputs described as for ``rnnport export``, where the file's own
            description does not say enough.
        settings: of a factory, its arguments, ``name=value``.
        weights: of a factory, a ``.pt`` or ``.safetensors`` file with the module's state_dict.
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
    path = Path(path)
    _check_request(engines, atol, rtol, time)
    limits = Limits(min_agreement, max_drift_ratio)
    own = read_spec(path)
    factory = {"inputs": inputs or None, "settings": settings or None, "weights": weights}
    reference = _reference(path, own, against, {"args": args, "kwargs": kwargs}, factory)
    title = str(against) if isinstance(against, str | Path) else type(against).__name__
    parent = Path(title)
    found = lossy(path, own, parent, reference.own)
    notes = reference.notes
    if found is not None and not judged(found, reference.spec):
        notes, found = (*notes, held_to_bounds(found)), None
    if found is not None and _another_parent(own, parent):
        notes = (*notes, f"the file was made from another than {parent}, by its sha256")
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
    facts = _facts(path, parent, seed)
    return Verification(
        model=str(path),
        against=title,
        reports=tuple(reports),
        missing=tuple(missing),
        promises=reference.promises,
        facts=facts,
    )


def _reference(
    path: Path,
    own: ModelSpec | None,
    against: str | Path | nn.Module,
    example: Mapping[str, Any],
    factory: Mapping[str, Any],
) -> Reference:
    made = not isinstance(against, str | Path)
    named = not made and factory_name(str(against)) is not None and not Path(str(against)).exists()
    _refuse_given(example, made, "a module")
    _refuse_given(factory, named, "file.py:factory")
    if not isinstance(against, str | Path):
        return of_module(path, own, against, **example)
    if named:
        return of_factory(path, own, str(against), **factory)
    return (of_run if Path(against).is_dir() else of_file)(path, own, Path(against))


def _refuse_given(given: Mapping[str, Any], wanted: bool, what: str) -> None:
    names = [name for name, value in given.items() if value is not None]
    if names and not wanted:
        raise RequestError(f"{', '.join(names)}: only for verifying against {what}")


def _compared(
    reference: Reference, candidate: Engine, cases: Iterable[Case], bounds: tuple[float, float]
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
