"""What a rule is and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

import onnx

from rnnport.graph.scopes import Reading


class Severity(Enum):
    """How bad a finding is; every finding makes ``check`` exit with 1."""

    ERROR = "error"  # wrong answers, or a file that does not run
    WARNING = "warning"  # right today, fragile or slow tomorrow


class Effect(Enum):
    """What a repair does to the answers, and so how it is verified before it is written."""

    EXACT = "exact"  # data is moved or named anew: equal to the last bit
    CLOSE = "close"  # arithmetic is done once or in another order: equal within 1e-5
    CHANGES = "changes"  # the answers were wrong and are meant to change


@dataclass(frozen=True)
class Finding:
    """One fault in one file."""

    rule: str
    severity: Severity
    node: str  # the node's or value's name; empty where the whole file is meant
    message: str  # one sentence
    fixable: bool = False


Targets = frozenset[str]
Find = Callable[[Reading, Targets], Iterable["Fault"]]
Repair = Callable[[Reading], onnx.ModelProto]


@dataclass(frozen=True)
class Fault:
    """What a rule's search gives; the rule's id and severity make it a ``Finding``."""

    node: str
    message: str
    fixable: bool = False


@dataclass(frozen=True)
class Rule:
    """A fault that files have: how to find it, why it matters, how it is repaired.

    ``repair`` may change the reading's own model; it gives the repaired one.
    """

    id: str
    title: str
    severity: Severity
    why: str
    remedy: str
    find: Find
    repair: Repair | None = None
    effect: Effect = Effect.EXACT
    targets: Targets = field(default_factory=frozenset)  # only asked for these; empty: always

    def findings(self, reading: Reading, targets: Targets) -> list[Finding]:
        """The faults of this kind in a model that is to run on ``targets``."""
        if self.targets and not self.targets & targets:
            return []
        return [
            Finding(self.id, self.severity, fault.node, fault.message, fault.fixable)
            for fault in self.find(reading, self.targets & targets or targets)
        ]
