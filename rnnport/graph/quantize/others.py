"""The weights of the other operators: products, convolutions and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from rnnport.graph.operands import INPUTS
from rnnport.graph.quantize.account import NodeAccount
from rnnport.graph.quantize.small import Parts, Small
from rnnport.graph.rewrite import set_input
from rnnport.graph.scopes import Node, Reading, Scope

LEAST_ELEMENTS = 1024  # below, the scales and nodes cost more than what is saved
OPERANDS = {"MatMul": (0, 1), "Gemm": (1,), "Conv": (1,), "ConvTranspose": (1,), "Gather": (0,)}
Shrink = Callable[[np.ndarray, tuple[int, ...]], Small]


def quantize_others(
    reading: Reading, parts: Parts, kept: Iterable[str], shrink: Shrink
) -> list[NodeAccount]:
    """Give MatMul, Gemm, Conv, ConvTranspose and Gather small weights, in the reading's own model.

    Each output channel (a column of a product, a filter, a row of a table) has a scale of its own.
    ``shrink`` makes the small form of a weight, with one scale for all elements along some axes.
    """
    kept = set(kept)
    accounts: list[NodeAccount] = []
    for (scope, name), readers in _weights(reading).items():
        array = scope.array(name)
        assert array is not None, "_weights looked"
        reason = _obstacle(array, scope, name, readers, kept)
        small = None if reason else shrink(array, _axes(*readers[0], array.ndim))
        if small is not None:
            restored = parts.restored(scope, name, small)
            for node, index in readers:
                set_input(node, index, restored)
        sizes = array.nbytes, array.nbytes if small is None else small.nbytes()
        for node, _ in readers:
            stored = str(array.dtype if small is None else small.values.dtype)
            form = "" if small is None else "weights"
            accounts.append(NodeAccount(node.label, node.op, stored, form, reason, *sizes))
            sizes = 0, 0  # a weight that several nodes share is counted once
    return [*accounts, *_left_alone(reading)]


def _left_alone(reading: Reading) -> Iterator[NodeAccount]:
    """Operators with large weights that are not among those that are made small."""
    for node in reading.nodes():
        if node.op in OPERANDS or node.op in INPUTS or node.op == "Constant" or not node.op:
            continue
        for name in node.proto.input:
            array = node.scope.array(name)
            if array is not None and array.dtype == np.float32 and enough(array):
                reason = f"weights of {node.op} are not made small"
                sizes = array.nbytes, array.nbytes
                yield NodeAccount(node.label, node.op, "float32", "", reason, *sizes)


def _weights(reading: Reading) -> dict[tuple[Scope, str], list[tuple[Node, int]]]:
    """Each constant operand in floating point, with the nodes that read it and at which place."""
    found: dict[tuple[Scope, str], list[tuple[Node, int]]] = {}
    for node in reading.nodes():
        for index in OPERANDS.get(node.op, ()):
            name = node.input(index)
            array = node.scope.array(name)
            if array is not None and array.dtype.kind == "f" and array.ndim >= 2:
                found.setdefault((node.scope.home(name), name), []).append((node, index))
    return found


def _obstacle(
    array: np.ndarray, scope: Scope, name: str, readers: list[tuple[Node, int]], kept: set[str]
) -> str:
    """Why a weight keeps its form; empty where it need not."""
    if any(node.label in kept for node, _ in readers):
        return "kept, as asked"
    if array.dtype != np.float32:
        return f"its weights are {array.dtype}, not float32"
    if not enough(array):
        return f"small: {array.size} weights, under {LEAST_ELEMENTS}"
    if not np.isfinite(array).all():
        return "its weights hold NaN or infinity"
    if name in scope.output_names:
        return "its weights are an output of the graph"
    return ""


def enough(array: np.ndarray) -> bool:
    """Whether a weight is large enough to be worth a small form."""
    return array.size >= LEAST_ELEMENTS


def _axes(node: Node, index: int, ndim: int) -> tuple[int, ...]:
    """The axes of a weight that one output channel sums over."""
    if node.op == "MatMul":
        return (ndim - 2,) if index == 1 else (ndim - 1,)
    if node.op == "Gemm":
        return (1,) if node.attribute("transB", 0) else (0,)
    if node.op == "ConvTranspose":  # [in, out / group, …]: with groups the filters share scales
        return (0, *range(2, ndim))
    if node.op == "Gather":
        axis = int(node.attribute("axis", 0)) % ndim
        return tuple(other for other in range(ndim) if other != axis)
    return tuple(range(1, ndim))
