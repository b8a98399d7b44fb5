"""What it costs that a projected LSTM is stored as a plain one, with its whole state.

An LSTM with projection W_hr [P, H] is exported as a plain one whose recurrent matrix is R·W_hr,
[4H, H] in place of [4H, P] (see ``porting/projection.py``); a streaming file carries its state at
the full width H. Such a matrix is known by the product that follows: its rows lie in the row space
of that product's W_hr.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rnnport.graph.recurrent import Recurrent, recurrent_nodes
from rnnport.graph.scopes import Node, Reading

MOVING = ("Squeeze", "Transpose", "Reshape", "Identity", "Split", "Slice", "Gather")
RESIDUE = 1e-4  # of R outside the row space, as a part of R


def projections(reading: Reading) -> Iterator[tuple[Recurrent, int]]:
    """Every LSTM that stands for one with projection, and the width P of its projection."""
    for layer in recurrent_nodes(reading):
        R = layer.node.scope.array(layer.input("R")) if layer.op == "LSTM" else None
        if R is None:
            continue
        for product in _products(layer):
            weight = product.scope.array(product.input(1))
            if weight is not None and _stands_for(R, weight):
                yield layer, int(weight.shape[1])
                break


def projection_notes(reading: Reading, bytes_each: int) -> Iterator[str]:
    """One sentence for each such LSTM: the bytes that it takes more than R [4H, P] would.

    Args:
        reading: the model before it was quantized.
        bytes_each: of one element of R in the quantized file.
    """
    for layer, width in projections(reading):
        directions, rows, hidden = layer.node.scope.shape(layer.input("R")) or (0, 0, 0)
        more = int(directions) * int(rows) * (int(hidden) - width) * bytes_each
        yield (
            f"{layer.label} projects {hidden} to {width}: its state stays {hidden} wide, and R is "
            f"stored as R·W_hr, [{rows}, {hidden}] in place of [{rows}, {width}]: {more:,} bytes "
            "more than the projected form would take"
        )


def _products(layer: Recurrent) -> Iterator[Node]:
    """The products that read Y, through operators that only move it."""
    waiting = [layer.output("Y")]
    while waiting:
        for node in layer.node.scope.takers.get(waiting.pop(), ()):
            if node.op == "MatMul":
                yield node
            elif node.op in MOVING:
                waiting += list(node.proto.output)


def _stands_for(R: np.ndarray, weight: np.ndarray) -> bool:
    """Whether each direction's rows of R [directions, 4H, H] lie in the columns of [H, P]."""
    if weight.ndim != 2 or weight.shape[0] != R.shape[2] or weight.shape[1] >= R.shape[2]:
        return False
    basis, _ = np.linalg.qr(weight.astype(np.float64))
    rows = R.reshape(-1, R.shape[2]).astype(np.float64)
    size = float(np.linalg.norm(rows))
    outside = float(np.linalg.norm(rows - (rows @ basis) @ basis.T))
    return bool(size > 0 and outside < RESIDUE * size)
