"""Verifying a file that is lossy on purpose: whether it is, and how far it strays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rnnport.errors import MissingExtraError, ModelFileError, RnnportError
from rnnport.parity.cases import Case, drift_cases
from rnnport.parity.compare import compare
from rnnport.parity.drift import Drift, decides, from_record, measure_drift
from rnnport.parity.loss import Limits, Loss
from rnnport.parity.report import ParityReport
from rnnport.runtime.engine import Engine
from rnnport.spec import ModelSpec


@dataclass(frozen=True)
class Lossy:
    """Why one of two files is lossy, and what its spec says of its drift."""

    what: str
    recorded: Mapping[str, Drift] | None
    spec: ModelSpec | None  # the lossy file's own: its drift was recorded on inputs drawn from it


def lossy(path: Path, own: ModelSpec | None, other: Path, theirs: ModelSpec | None) -> Lossy | None:
    """Whether two files must differ because one of them was quantized and the other was not so.

    Two files that were quantized to the same type are one computation, and must be equal.

    Raises:
        ModelFileError: the recorded drift is damaged.
    """
    mine, its = _evidence(path, own), _evidence(other, theirs)
    if mine is None and its is None:
        return None
    if mine is not None and its is not None and _precision(own) == _precision(theirs):
        return None
    what, spec = (mine, own) if mine is not None else (f"the other: {its}", theirs)
    drift = None if spec is None else (spec.quantization or {}).get("drift")
    return Lossy(str(what), None if drift is None else from_record(drift), spec)


def judge(
    engines: tuple[Engine, Engine],
    spec: ModelSpec,
    found: Lossy,
    cases: Iterable[Case],
    limits: Limits,
    bounds: tuple[float, float],
) -> ParityReport:
    """Measure a lossy candidate against the reference, and hold it to itself over ``cases``.

    A file that records its drift must answer the same however a sequence is cut or padded;
    of any other a note says where it does not.

    Args:
        engines: the reference and the candidate.
        spec: what the model takes and gives.
        found: why it is lossy.
        cases: the grid.
        limits: how far it may stray.
        bounds: atol and rtol, against itself.
    """
    reference, candidate = engines
    atol, rtol = bounds
    problem, drift, refused = None, {}, list[str]()
    try:
        recorded_on = found.spec or spec
        cases_of_record = drift_cases(recorded_on)
        drift = measure_drift(reference, candidate, cases_of_record, recorded_on, refused)
        problem = refused[0] if refused and not drift else None
    except RnnportError as error:
        problem = str(error)
    loss = Loss(found.what, drift, found.recorded, limits, atol, rtol, problem)
    itself = compare(
        candidate, candidate, cases, atol=atol, rtol=rtol, excusing=reference, spec=spec
    )
    notes = list(itself.notes)
    if refused and drift:
        notes.append(f"{len(refused)} cases of the drift are refused: {refused[0]}")
    comparisons = itself.comparisons
    if found.recorded is None:
        comparisons = tuple(item for item in comparisons if item.problem is not None)
        if itself.failures:
            notes.append(
                f"its answers depend on more than its input: {itself.failures[0].describe()}"
            )
    return ParityReport(
        reference=reference.name,
        candidate=candidate.name,
        atol=atol,
        rtol=rtol,
        comparisons=comparisons,
        refusals=itself.refusals,
        notes=tuple(notes),
        loss=loss,
    )


def judged(found: Lossy | None, spec: ModelSpec) -> bool:
    """Whether there is anything to judge a lossy file by, other than every element."""
    return found is not None and (found.recorded is not None or decides(spec))


def held_to_bounds(found: Lossy) -> str:
    """The note on a lossy file that only its elements can judge."""
    return (
        f"lossy, as {found.what}; it records no drift and decides nothing, so that every element "
        "is held to --atol and --rtol"
    )


def _evidence(path: Path, spec: ModelSpec | None) -> str | None:
    """What shows that a file was quantized: its own word, else its graph."""
    if not path.is_file() or (spec is not None and spec.quantization is not None):
        precision = _precision(spec)
        return (
            None if precision is None else f"its metadata say that it was quantized to {precision}"
        )
    try:
        from rnnport.graph.quantize.already import quantized_already
        from rnnport.graph.reading import open_reading

        return quantized_already(open_reading(path), spec)
    except (ImportError, MissingExtraError, ModelFileError):
        return None  # the engines say what is wrong with the file


def _precision(spec: ModelSpec | None) -> str | None:
    account = None if spec is None else spec.quantization
    return None if account is None else str(account.get("precision", "a smaller type"))
