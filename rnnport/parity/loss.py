"""How a lossy file is judged: by the decisions that it keeps, and its drift beside the recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rnnport.errors import RequestError
from rnnport.parity.drift import Drift, to_record


@dataclass(frozen=True)
class Limits:
    """How far a lossy file may stray from what it was made from.

    ``min_agreement`` is the least share of decisions that must be the same, from 0 to 1;
    ``max_drift_ratio`` how many times the recorded drift is allowed, RMS and largest error each.
    """

    min_agreement: float = 0.99
    max_drift_ratio: float = 1.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_agreement <= 1.0:
            raise RequestError(
                f"--min-agreement is {self.min_agreement}; expected 0% to 100%, or 0 to 1"
            )
        if not 1.0 <= self.max_drift_ratio < float("inf"):
            raise RequestError(
                f"--max-drift-ratio is {self.max_drift_ratio}; expected a number of at least 1"
            )


@dataclass(frozen=True)
class Loss:
    """What a lossy file was found to lose, beside what its spec says that it loses.

    ``recorded`` is None where nothing is recorded: decisions alone are judged then. Below
    ``atol + rtol · scale`` an error is rounding, not drift.
    """

    what: str  # the evidence that the file is lossy
    drift: Mapping[str, Drift]
    recorded: Mapping[str, Drift] | None
    limits: Limits
    atol: float = 1e-5
    rtol: float = 1e-5
    problem: str | None = None  # why the drift could not be measured

    @property
    def ok(self) -> bool:
        """Whether something was judged, and all of it is within its limits."""
        return not any(self.failures())

    def failures(self) -> Iterator[str]:
        """What is beyond its limits, a sentence each."""
        if self.problem is not None:
            yield self.problem
            return
        decides = any(each.agreement is not None for each in self.drift.values())
        if not self.drift or (self.recorded is None and not decides):
            yield "nothing could be judged: no decision was made, and no drift is recorded"
        for name, drift in self.drift.items():
            yield from self._beyond(name, drift)

    def _beyond(self, name: str, drift: Drift) -> Iterator[str]:
        if drift.agreement is not None and drift.agreement < self.limits.min_agreement:
            yield (
                f"{name}: {drift.agreement:.2%} of {drift.decisions} decisions agree; "
                f"at least {_percent(self.limits.min_agreement)} must (--min-agreement)"
            )
        if self.recorded is None:
            return
        if name not in self.recorded:
            yield f"{name}: the file records no drift of it"
            return
        before, rounding = self.recorded[name], self.atol + self.rtol * drift.scale
        for what, now, then in (
            ("RMS", drift.rms, before.rms),
            ("largest", drift.max, before.max),
        ):
            allowed = self.limits.max_drift_ratio * then + rounding
            if not now <= allowed:
                yield (
                    f"{name}: its {what} error is {now:.3g}, where {then:.3g} is recorded; "
                    f"{allowed:.3g} is allowed (--max-drift-ratio {self.limits.max_drift_ratio:g})"
                )

    def lines(self) -> Iterator[str]:
        """The judgement for a terminal, a line for each output."""
        yield f"lossy, as {self.what}; judged by {self.measure()}"
        for name, drift in self.drift.items():
            verdict = "FAILED" if any(self._beyond(name, drift)) else "ok"
            yield f"{verdict:<8}{name}: {drift.describe()}{self._recorded(name)}"
        yield from self.failures()

    def measure(self) -> str:
        """What is judged, in words."""
        decisions = f"decisions (at least {_percent(self.limits.min_agreement)} the same)"
        if self.recorded is None:
            return f"{decisions} alone: the file records no drift"
        return f"{decisions} and drift (at most {self.limits.max_drift_ratio:g} times the recorded)"

    def _recorded(self, name: str) -> str:
        if self.recorded is None or name not in self.recorded:
            return ""
        return (
            f"; recorded {self.recorded[name].rms:.2g} RMS, {self.recorded[name].max:.2g} at most"
        )

    def to_document(self) -> dict[str, Any]:
        """The judgement as plain values that JSON can hold."""
        return {
            "ok": self.ok,
            "what": self.what,
            "limits": asdict(self.limits),
            "drift": to_record(self.drift),
            "recorded": None if self.recorded is None else to_record(self.recorded),
            "failures": list(self.failures()),
        }


def _percent(share: float) -> str:
    return f"{100 * share:g}%"
