"""How the weights of recurrent layers are spread before and after they are made small."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnport.graph.quantize.small import to_bfloat16, to_int8
from rnnport.graph.recurrent import recurrent_nodes
from rnnport.graph.scopes import Reading

BINS = 120


@dataclass(frozen=True)
class Histogram:
    """Counts of a layer's weights W and R between ``edges``, as they were and as they are."""

    node: str
    edges: tuple[float, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


def histograms(reading: Reading, precision: str, quantized: Collection[str]) -> Iterator[Histogram]:
    """One for each LSTM, GRU and RNN node that was quantized.

    Args:
        reading: the model before.
        precision: "int8", "fp16" or "bf16".
        quantized: labels of the nodes that were changed.
    """
    for layer in recurrent_nodes(reading):
        if layer.label not in quantized:
            continue
        arrays = [layer.node.scope.array(layer.input(role)) for role in ("W", "R")]
        weights = [array for array in arrays if array is not None]
        before = np.concatenate([weight.ravel() for weight in weights])
        after = np.concatenate([_rounded(weight, precision).ravel() for weight in weights])
        most = float(np.abs(before).max())
        edges = np.linspace(-most, most, BINS + 1)
        counts = (np.histogram(values, edges)[0] for values in (before, after))
        first, second = (tuple(int(count) for count in each) for each in counts)
        yield Histogram(layer.label, tuple(float(edge) for edge in edges), first, second)


def _rounded(weight: NDArray[np.float32], precision: str) -> NDArray[np.float32]:
    if precision == "int8":
        return to_int8(weight, (2,)).restored()
    if precision == "bf16":
        return to_bfloat16(weight).restored()
    return weight.astype(np.float16).astype(np.float32)
