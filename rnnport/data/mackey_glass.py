"""The Mackey–Glass series: real chaos that needs no download."""

from __future__ import annotations

import numpy as np

from rnnport.data.types import Array

BETA, GAMMA, TAU = 0.2, 0.1, 17  # the exponent is 10, see _rate


def mackey_glass(
    rows: int, *, skip: int = 1000, start: float = 1.2, steps_per_row: int = 10
) -> Array:
    """Rows of the series at whole times, float64 ``[rows]``, after the first ``skip`` of them.

    dx/dt = β·x(t − τ) / (1 + x(t − τ)^10) − γ·x(t), with x(t) = ``start`` until time 0 (M. C.
    Mackey, L. Glass, "Oscillation and chaos in physiological control systems", Science 197, 1977).
    Runge–Kutta of order 4; between its steps the delayed value is interpolated with the same
    order (cubic Hermite). Only operations that IEEE 754 defines exactly are used, so that every
    machine computes the same bits: chaos would blow up any difference.
    """
    h = 1.0 / steps_per_row
    delay = TAU * steps_per_row
    x = [start] * (delay + 1)  # the last is now, the first τ ago
    slopes = [0.0] * delay  # dx/dt at all but the last of them
    for step in range((skip + rows - 1) * steps_per_row):
        now, early, late = x[-1], x[-1 - delay], x[-delay]
        slopes.append(_rate(now, early))
        middle = start  # what was before time 0 has no slope, also not at its end
        if step >= delay:
            middle = 0.5 * (early + late) + 0.125 * h * (slopes[-1 - delay] - slopes[-delay])
        k1 = slopes[-1]
        k2 = _rate(now + 0.5 * h * k1, middle)
        k3 = _rate(now + 0.5 * h * k2, middle)
        k4 = _rate(now + h * k3, late)
        x.append(now + h * (k1 + 2.0 * (k2 + k3) + k4) / 6.0)
    return np.array(x[delay + skip * steps_per_row :: steps_per_row])


def _rate(x: float, delayed: float) -> float:
    square = delayed * delayed
    fifth = square * square * delayed
    return BETA * delayed / (1.0 + fifth * fifth) - GAMMA * x
