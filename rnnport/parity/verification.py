"""A model file verified on several engines: their reports, and the engines that are not there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnport.parity.document import SCHEMA_VERSION, document
from rnnport.parity.report import ParityReport


@dataclass(frozen=True)
class Missing:
    """An engine that was asked for and cannot be used here."""

    engine: str
    reason: str


@dataclass(frozen=True)
class Verification:
    """One report for each engine that ran; an engine that is missing has proven nothing."""

    model: str
    against: str
    reports: tuple[ParityReport, ...]
    missing: tuple[Missing, ...] = ()
    promises: tuple[str, ...] = ()  # where the file's description differs from what it must say
    facts: Mapping[str, Any] = field(default_factory=dict)  # seed, checksums, versions

    @property
    def agrees(self) -> bool:
        """Whether something ran, every engine that ran agrees, and the description is right."""
        ran = bool(self.reports) and all(report.ok for report in self.reports)
        return ran and not self.promises

    @property
    def ok(self) -> bool:
        """Whether every engine that was asked for ran and agrees."""
        return self.agrees and not self.missing

    @property
    def exit_code(self) -> int:
        """1 where an engine or the description disagrees, 3 where an engine is missing, else 0."""
        if self.promises or not all(report.ok for report in self.reports):
            return 1
        return 3 if self.missing or not self.reports else 0

    @property
    def lossy(self) -> bool:
        """Whether the file was judged by what it loses."""
        return any(report.loss is not None for report in self.reports)

    def lines(self) -> Iterator[str]:
        """The outcome for a terminal."""
        for report in self.reports:
            yield from report.lines()
        for missing in self.missing:
            yield f"{missing.engine} did not run: {missing.reason}"
        yield from (f"{self.model}: {difference}" for difference in self.promises)
        yield self.verdict()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def verdict(self) -> str:
        """The outcome in one sentence."""
        names = ", ".join(report.candidate for report in self.reports)
        if self.promises:
            return f"FAILED: {self.model} does not promise what {self.against} does"
        if not self.agrees and self.reports:
            wrong = ", ".join(report.candidate for report in self.reports if not report.ok)
            fault = "strays too far from" if self.lossy else "does not equal"
            return f"FAILED: {self.model} {fault} {self.against} on {wrong}"
        if self.missing:
            absent = ", ".join(missing.engine for missing in self.missing)
            return f"INCOMPLETE: {self.model} was not verified on {absent}"
        if self.lossy:
            return f"ok: {self.model} stays as near to {self.against} as it must on {names}"
        return f"ok: {self.model} equals {self.against} on {names}"

    def to_document(self) -> dict[str, Any]:
        """The outcome as plain values that JSON can hold."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ok": self.ok,
            "verdict": self.verdict(),
            "model": self.model,
            "against": self.against,
            "reports": [document(report) for report in self.reports],
            "missing": [{"engine": m.engine, "reason": m.reason} for m in self.missing],
            "promises": list(self.promises),
            "facts": dict(self.facts),
        }

    def to_json(self) -> str:
        """The outcome as one JSON document with ``schema_version``."""
        return json.dumps(self.to_document(), ensure_ascii=False, allow_nan=False)
