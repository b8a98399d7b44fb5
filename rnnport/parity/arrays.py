"""Comparing two arrays element by element, and along time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnport.parity.cases import Case
from rnnport.parity.finding import Comparison, Element

Array = NDArray[Any]

ROUNDING = 4.0  # the reference's own rounding error counts this many times


@dataclass(frozen=True)
class Place:
    """Where a pair of arrays comes from."""

    case: Case
    way: str
    output: str
    time_axis: int | None = None


@dataclass(frozen=True)
class Tolerance:
    """Elementwise ``atol + rtol · |reference|``; whole numbers and flags are compared exactly."""

    atol: float
    rtol: float


def compare_arrays(
    place: Place,
    reference: Array,
    candidate: Array,
    tolerance: Tolerance,
    precise: Array | None = None,
) -> Comparison:
    """Compare one output of two engines.

    A NaN on either side, an infinity that the other side lacks, another dtype or another shape is
    a failure whatever the tolerance.
    """
    problem = mismatch(reference, candidate)
    if problem is not None:
        return failed(place, problem, reference.size)
    if reference.size == 0:
        return Comparison(place.case, place.way, place.output)
    errors = absolute_errors(reference, candidate)
    bounds, widened = _bounds(reference, tolerance, precise)
    worst = _worst(reference, candidate, errors, bounds)
    profile, first = _over_time(place.time_axis, errors, bounds)
    return Comparison(
        place.case,
        place.way,
        place.output,
        elements=reference.size,
        worst=worst,
        largest=float(errors.max()),
        needed_atol=_needed_atol(reference, errors, widened or 0.0, tolerance),
        widened=widened,
        profile=profile,
        first_beyond=first,
    )


def failed(place: Place, problem: str, elements: int = 0) -> Comparison:
    """A comparison that no tolerance could save."""
    return Comparison(place.case, place.way, place.output, elements, problem)


def mismatch(reference: Array, candidate: Array) -> str | None:
    """What no tolerance excuses: another dtype or shape, NaN, an infinity that one side lacks."""
    if candidate.dtype != reference.dtype:
        return f"dtype {candidate.dtype} instead of {reference.dtype}"
    if candidate.shape != reference.shape:
        return f"shape {list(candidate.shape)} instead of {list(reference.shape)}"
    if reference.dtype.kind != "f":
        return None
    for name, array in (("the candidate", candidate), ("the reference", reference)):
        if np.isnan(array).any():
            place = np.argwhere(np.isnan(array))[0].tolist()
            return f"{name} answers NaN, first at {place}"
    endless = np.isinf(reference) | np.isinf(candidate)
    unequal = endless & (reference != candidate)
    if unequal.any():
        index = tuple(np.argwhere(unequal)[0])
        return (
            f"{candidate[index]} instead of {reference[index]} at {[int(i) for i in index]}: "
            "infinities do not match"
        )
    return None


def absolute_errors(reference: Array, candidate: Array) -> NDArray[np.float64]:
    """Absolute errors; equal infinities differ by nothing, unequal whole numbers by 1 or more."""
    unequal = reference != candidate
    if reference.dtype.kind not in "biuf":
        return np.asarray(unequal, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        distance = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
    if reference.dtype.kind in "biu":  # float64 cannot tell every two int64 apart
        distance = np.maximum(distance, 1.0)
    return np.asarray(np.where(unequal, distance, 0.0), dtype=np.float64)


def magnitude(reference: Array) -> NDArray[np.float64]:
    """Absolute values; 0 for infinities and for whole numbers and flags."""
    if reference.dtype.kind != "f":
        return np.zeros(reference.shape)
    return np.asarray(np.nan_to_num(np.abs(reference.astype(np.float64)), posinf=0.0))


def _bounds(
    reference: Array, tolerance: Tolerance, precise: Array | None
) -> tuple[Array, float | None]:
    """Each element's bound, and the bound from rounding where it is the larger one somewhere."""
    if reference.dtype.kind != "f":
        return np.zeros(reference.shape), None
    bounds = tolerance.atol + tolerance.rtol * magnitude(reference)
    if precise is None or precise.shape != reference.shape:
        return bounds, None
    with np.errstate(invalid="ignore"):
        rounding = np.abs(reference.astype(np.float64) - precise.astype(np.float64))
    known = rounding[np.isfinite(rounding)]
    floor = ROUNDING * float(known.max(initial=0.0))
    if floor <= float(bounds.min()):
        return bounds, None
    return np.maximum(bounds, floor), floor


def _worst(reference: Array, candidate: Array, errors: Array, bounds: Array) -> Element:
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(errors > 0.0, errors / bounds, 0.0)
    index = np.unravel_index(int(excess.argmax()), excess.shape)
    numeric = reference.dtype.kind in "biuf"
    return Element(
        index=tuple(int(i) for i in index),
        reference=float(reference[index]) if numeric else float("nan"),
        candidate=float(candidate[index]) if numeric else float("nan"),
        error=float(errors[index]),
        bound=float(bounds[index]),
    )


def _needed_atol(reference: Array, errors: Array, floor: float, tolerance: Tolerance) -> float:
    if reference.dtype.kind != "f":  # nothing but equal is right
        return float("inf") if errors.any() else 0.0
    needed = np.where(errors <= floor, 0.0, errors - tolerance.rtol * magnitude(reference))
    return float(needed.max(initial=0.0))


def _over_time(
    axis: int | None, errors: Array, bounds: Array
) -> tuple[tuple[float, ...], int | None]:
    """The largest error of each step, and the first step with one beyond its bound."""
    if axis is None or errors.ndim <= axis:
        return (), None
    others = tuple(i for i in range(errors.ndim) if i != axis)
    beyond = (errors > bounds).any(axis=others)
    first = int(beyond.argmax()) if beyond.any() else None
    return tuple(float(value) for value in errors.max(axis=others)), first
