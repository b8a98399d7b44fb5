"""What a weight is stored as: itself, or small numbers that are made large when the model loads."""

from __future__ import annotations

from rnnport.graph.scopes import Scope

WHOLE = ("int8", "uint8", "int4", "uint4", "int2", "uint2", "int16", "uint16")
HALF = ("float16", "bfloat16")
# A value is restored by these, in any order; what they read besides are scales and zero points.
RESTORING = {
    *("Cast", "Mul", "Sub", "DequantizeLinear", "Identity"),
    *("Transpose", "Reshape", "Unsqueeze", "Squeeze"),
}
MOST = 32  # values on the way from the small numbers to the weight


def is_small(dtype: str) -> bool:
    """Whether a type takes less room than float32 and can stand for weights."""
    return dtype in WHOLE or dtype in HALF


def stored_parts(scope: Scope, name: str) -> list[str] | None:
    """The constants that a weight is kept as, by name; ``None`` where it is not constant.

    A weight that is itself a constant is its only part. Any other must be restored from small
    numbers: constants that are merely moved about are not told apart from what a run computes.
    """
    if not name:
        return None
    if scope.tensor(name) is not None:
        return [name]
    parts = _parts(scope, name)
    small = parts is not None and any(is_small(scope.dtype(part)) for part in parts)
    return parts if small else None


def _parts(scope: Scope, name: str) -> list[str] | None:
    parts: list[str] = []
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop(0)
        if current in seen:
            continue
        seen.add(current)
        if scope.tensor(current) is not None:
            parts.append(current)
            continue
        maker = scope.maker(current)
        if maker is None or maker.op not in RESTORING or len(seen) > MOST:
            return None
        waiting += filter(None, maker.proto.input)
    return parts
