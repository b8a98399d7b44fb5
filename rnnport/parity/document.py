"""A parity report as plain values that JSON can hold."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from rnnport.parity.finding import Comparison
from rnnport.parity.report import Group, ParityReport

SCHEMA_VERSION = 1
MOST_LISTED = 20  # failures that are named one by one


def document(report: ParityReport) -> dict[str, Any]:
    """The whole report; NaN and infinity, which JSON lacks, become words."""
    worst = report.worst
    return {
        "schema_version": SCHEMA_VERSION,
        "ok": report.ok,
        "summary": report.summary(),
        "reference": report.reference,
        "candidate": report.candidate,
        "atol": report.atol,
        "rtol": report.rtol,
        "cases": report.cases,
        "arrays": len(report.comparisons),
        "elements": report.elements,
        "largest_error": _finite(report.largest),
        "needed_atol": _finite(report.needed_atol),
        "widened": len(report.widened),
        "worst": None if worst is None else _comparison(worst),
        "groups": [_group(group) for group in report.groups()],
        "failures": [_comparison(item) for item in report.failures[:MOST_LISTED]],
        "refusals": [
            {"case": str(r.case), "way": r.way, "engine": r.engine, "reason": r.reason}
            for r in report.refusals
        ],
        "notes": list(report.notes),
        "facts": dict(report.facts),
        "loss": None if report.loss is None else report.loss.to_document(),
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "verdict": group.verdict,
        "cases": group.cases,
        "arrays": len(group.comparisons),
        "elements": group.elements,
        "failures": group.failures,
        "refused": group.refused,
        "largest_error": _finite(group.largest),
    }


def _comparison(item: Comparison) -> dict[str, Any]:
    quarters = item.quarters()
    return {
        "case": asdict(item.case),
        "way": item.way,
        "output": item.output,
        "ok": item.ok,
        "problem": item.problem,
        "elements": item.elements,
        "worst": None if item.worst is None else _finite_values(asdict(item.worst)),
        "largest_error": _finite(item.largest),
        "needed_atol": _finite(item.needed_atol),
        "widened": _finite(item.widened),
        "quarters": None if quarters is None else [_finite(value) for value in quarters],
        "first_beyond": item.first_beyond,
    }


def _finite_values(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _finite(value) if isinstance(value, float) else value for key, value in values.items()
    }


def _finite(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
