"""Repairing a file: each rule's repair is proven before it is kept, the whole written once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from rnnport.errors import CheckFailedError, UnsupportedModelError, WriteError
from rnnport.files import refuse_existing, replacing
from rnnport.graph.check.proof import prove
from rnnport.graph.check.rule import Effect, Finding, Rule
from rnnport.graph.check.run import findings, meant_for
from rnnport.graph.reading import open_reading
from rnnport.graph.scopes import Reading
from rnnport.graph.sound import require_sound
from rnnport.runtime.model_proto import load_proto

LARGEST_FILE = (1 << 31) - 1  # protobuf's own limit


@dataclass(frozen=True)
class Step:
    """One rule's repair: how many faults it met, and how it was proven or why it was dropped."""

    rule: str
    faults: int
    kept: bool
    note: str


@dataclass(frozen=True)
class FixReport:
    """What became of a file."""

    path: str
    output: str | None  # nothing is written where nothing was repaired
    steps: tuple[Step, ...]
    left: tuple[Finding, ...]  # what check finds in the repaired file


def fix_file(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    rules: Sequence[Rule],
    targets: frozenset[str],
    overwrite: bool = False,
) -> FixReport:
    """Repair what can be repaired and write the result; the input is never touched.

    Raises:
        RequestError: there is no file of that name.
        ModelFileError: the file is not an ONNX model, or makes no sense.
        OutputExistsError, WriteError: the output cannot be written.
    """
    refuse_existing(Path(output), overwrite)
    reading = open_reading(path)
    targets = targets or meant_for(reading)
    as_it_lies = findings(reading, rules, targets)
    model = load_proto(path)
    require_sound(model, os.fspath(path))
    steps = _done_by_reading(as_it_lies, findings(Reading(model), rules, targets))
    for rule in rules:
        if rule.repair is not None:
            model, step = _repaired(model, rule, targets)
            steps += [step] if step else []
    left = findings(Reading(model), rules, targets)
    written = any(step.kept for step in steps)
    if written:
        _save(model, Path(output), overwrite)
    return FixReport(os.fspath(path), os.fspath(output) if written else None, tuple(steps), left)


def _done_by_reading(before: Sequence[Finding], now: Sequence[Finding]) -> list[Step]:
    """Repairs that reading the whole file has made: external data are inside the model now."""
    gone = [f.rule for f in before if f.fixable and f.rule not in {g.rule for g in now}]
    note = "all data will be in the one file"
    return [Step(rule, gone.count(rule), True, note) for rule in dict.fromkeys(gone)]


def _repaired(
    model: onnx.ModelProto, rule: Rule, targets: frozenset[str]
) -> tuple[onnx.ModelProto, Step | None]:
    found = [f for f in rule.findings(Reading(model), targets) if f.fixable]
    if not found or rule.repair is None:
        return model, None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        changed = rule.repair(Reading(copy))
        difference = prove(model, changed, rule.effect)
        left = [f for f in rule.findings(Reading(changed), targets) if f.fixable]
        if left:
            raise CheckFailedError(f"{left[0].node} has the fault still")
    except (CheckFailedError, UnsupportedModelError) as error:
        return model, Step(rule.id, len(found), False, str(error))
    note = (
        "the answers change, as they must"
        if rule.effect is Effect.CHANGES
        else f"answers equal, largest difference {difference:.2g}"
    )
    return changed, Step(rule.id, len(found), True, note)


def _save(model: onnx.ModelProto, output: Path, overwrite: bool) -> None:
    if model.ByteSize() > LARGEST_FILE:
        raise WriteError(f"{output}: the repaired model is over 2 GB and does not fit one file")
    with replacing(output, overwrite) as temporary:
        temporary.write_bytes(model.SerializeToString())
