"""Checking files: read each soundly, ask each rule."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rnnport.errors import ModelFileError, RequestError
from rnnport.graph.annotate import own_spec
from rnnport.graph.check.rule import Finding, Rule
from rnnport.graph.reading import open_reading
from rnnport.graph.scopes import Reading

TARGETS = ("ort-cpu", "ort-cuda", "openvino", "rten", "tract")
DEFAULT_TARGET = "ort-cpu"


@dataclass(frozen=True)
class FileCheck:
    """What was found in one file, in the order of the rules."""

    path: str
    findings: tuple[Finding, ...]


def targets_of(names: Collection[str]) -> frozenset[str]:
    """The runtimes that files are to run on; none: those that each file is meant for.

    Raises:
        RequestError: a name that no target has.
    """
    for name in names:
        if name not in TARGETS:
            raise RequestError(f"there is no target '{name}'; there are {', '.join(TARGETS)}")
    return frozenset(names)


def meant_for(reading: Reading) -> frozenset[str]:
    """The runtime that a file is for where nobody says: a GPU's for one made in float16."""
    spec = own_spec(reading.model)
    made = {} if spec is None else spec.quantization or {}
    return frozenset({"ort-cuda" if made.get("precision") == "fp16" else DEFAULT_TARGET})


def check_file(
    path: str | os.PathLike[str], rules: Sequence[Rule], targets: frozenset[str]
) -> FileCheck:
    """Ask each rule about one file.

    Raises:
        RequestError: there is no file of that name.
        ModelFileError: the file is not an ONNX model, or makes no sense.
    """
    try:
        reading = open_reading(path)
        found = findings(reading, rules, targets or meant_for(reading))
        return FileCheck(os.fspath(path), found)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # A graph can contradict itself in more ways than are looked for before the rules read it.
        raise ModelFileError(
            f"{path} is not a usable ONNX file: its graph contradicts itself: {error!r}"
        ) from error


def findings(
    reading: Reading, rules: Sequence[Rule], targets: frozenset[str]
) -> tuple[Finding, ...]:
    """Ask each rule about a model that is in memory already."""
    return tuple(finding for rule in rules for finding in rule.findings(reading, targets))
