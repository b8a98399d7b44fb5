"""Checking feeds against a spec, for engines whose framework takes anything."""

from __future__ import annotations

from rnnport.errors import RequestError
from rnnport.runtime.engine import Arrays
from rnnport.spec import ModelSpec, TensorSpec


def check_feeds(spec: ModelSpec, feeds: Arrays) -> None:
    """Refuse feeds that do not fit: names, dtypes, ranks, fixed sizes, sizes of one symbolic name.

    Raises:
        RequestError: says which input does not fit, what came and what was expected.
    """
    names = {tensor.name for tensor in spec.inputs}
    if set(feeds) != names:
        raise RequestError(f"the model takes the inputs {sorted(names)}, not {sorted(feeds)}")
    symbols: dict[str, int] = {}
    for tensor in spec.inputs:
        _check_input(tensor, feeds, symbols)


def _check_input(tensor: TensorSpec, feeds: Arrays, symbols: dict[str, int]) -> None:
    array = feeds[tensor.name]
    if array.dtype.name != tensor.dtype:
        raise RequestError(
            f"the input '{tensor.name}' holds {array.dtype}; expected {tensor.dtype}"
        )
    expected = f"expected the shape {list(tensor.shape)}"
    if array.ndim != len(tensor.shape):
        raise RequestError(f"the input '{tensor.name}' is {list(array.shape)}; {expected}")
    for size, wanted in zip(array.shape, tensor.shape, strict=True):
        known = symbols.setdefault(wanted, size) if isinstance(wanted, str) else wanted
        if size != known:
            named = f" with {wanted}={known}" if isinstance(wanted, str) else ""
            raise RequestError(
                f"the input '{tensor.name}' is {list(array.shape)}; {expected}{named}"
            )
