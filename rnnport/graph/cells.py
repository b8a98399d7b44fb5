"""Recognising a plain LSTM, GRU or RNN in a step, by what the step answers.

The weights are read from the step's products; which block of them is which gate is found by trying:
the step runs on random states and inputs, and an arrangement is taken when its answers are the
step's. So it does not matter how an exporter spells the cell. Formulas: the ONNX operators LSTM,
GRU and RNN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from rnnport.graph.scopes import Node
from rnnport.graph.steps import Carried, Step

ROWS = 6  # of the random batch
CLOSE = 1e-4
KEEPS = ("Identity", "Squeeze", "Unsqueeze", "Reshape")
Array = np.ndarray


@dataclass(frozen=True)
class Cell:
    """A recurrent cell in ONNX's own order of gates: W [g·H, I], R [g·H, H], B [2·g·H]."""

    op: str
    h: Carried
    c: Carried | None
    W: Array
    R: Array
    B: Array
    attributes: dict[str, object]


@dataclass(frozen=True)
class Products:
    """The step's products in columns: x·Wx + bx and h·Wh + bh, and for GRU (r·h)·Wr."""

    Wx: Array  # [I, g·H]
    Wh: Array  # [H, g·H]
    bx: Array
    bh: Array


@dataclass(frozen=True)
class Trial:
    """Random states and an input, and what the step makes of them."""

    x: Array
    h: Array
    c: Array | None
    h_next: Array
    c_next: Array | None


def cell_of(step: Step) -> Cell | None:
    """The plain cell that a step is, or ``None``."""
    if len(step.states) == 1:
        return _cell(step, step.states[0], None)
    if len(step.states) == 2:
        one, other = step.states
        return _cell(step, one, other) or _cell(step, other, one)
    return None


def _cell(step: Step, h: Carried, c: Carried | None) -> Cell | None:
    products = _products(step, h)
    if products is None:
        return None
    trial = _trial(step, h, c, products)
    if trial is None:
        return None
    for op, W, R, B, attributes in _candidates(products, c is not None):
        if _answers_alike(op, W, R, B, attributes, trial):
            return Cell(op, h, c, W, R, B, attributes)
    return None


def _products(step: Step, h: Carried) -> Products | None:
    """Find the products with x and with h; both in one where a kernel takes [x, h]."""
    found: dict[str, list[tuple[Node, Array]]] = {}
    for node in step.body.nodes:
        if node.op in ("MatMul", "Gemm"):
            weight = _weight(step, node)
            if weight is None:
                return None
            found.setdefault(_kind(step, node.input(0), h), []).append((node, weight))
    if set(found) == {"xh"} and len(found["xh"]) == 1:
        return _joint(step, h, *found["xh"][0])
    if set(found) == {"x", "h"} and len(found["x"]) == len(found["h"]) == 1:
        (x_node, Wx), (h_node, Wh) = found["x"][0], found["h"][0]
        return _with_biases(step, h, (x_node, Wx), (h_node, Wh))
    return None


def _joint(step: Step, h: Carried, node: Node, weight: Array) -> Products | None:
    concat = _behind(step, node.input(0))
    if concat is None or concat.op != "Concat" or len(concat.proto.input) != 2:
        return None
    x_first = _kind(step, concat.input(0), h) == "x"
    width = step.body.shape(h.name)
    hidden = weight.shape[1] // 4 if width is None or not isinstance(width[-1], int) else width[-1]
    cut = weight.shape[0] - hidden if x_first else hidden
    first, second = weight[:cut], weight[cut:]
    Wx, Wh = (first, second) if x_first else (second, first)
    total = _at_zero(step, h, _sum_from(step, node), Wx.shape[0], Wh.shape[0])
    return None if total is None else Products(Wx, Wh, total, np.zeros_like(total))


def _with_biases(
    step: Step, h: Carried, from_x: tuple[Node, Array], from_h: tuple[Node, Array]
) -> Products | None:
    (x_node, Wx), (h_node, Wh) = from_x, from_h
    sizes = Wx.shape[0], Wh.shape[0]
    x_sum, h_sum = _sum_from(step, x_node), _sum_from(step, h_node)
    if x_sum == h_sum:  # both meet in one sum: its biases cannot be told apart, nor need they
        bx = _at_zero(step, h, x_sum, *sizes)
        bh = None if bx is None else np.zeros_like(bx)
    else:
        bx, bh = _at_zero(step, h, x_sum, *sizes), _at_zero(step, h, h_sum, *sizes)
    return None if bx is None or bh is None else Products(Wx, Wh, bx, bh)


def _weight(step: Step, node: Node) -> Array | None:
    value = step.constants.value(step.body, node.input(1))
    if value is None or value.ndim != 2:
        return None
    if node.op == "MatMul":
        return value
    plain = node.attribute("alpha", 1.0) == 1.0 and not node.attribute("transA", 0)
    return (value.T if node.attribute("transB", 0) else value) if plain else None


def _behind(step: Step, name: str) -> Node | None:
    maker = step.body.makers.get(name)
    while maker is not None and maker.op in KEEPS and maker.output(0) != step.x:
        maker = step.body.makers.get(maker.input(0))
    return maker


def _kind(step: Step, name: str, h: Carried) -> str:
    """What a product multiplies: "x", "h", "xh" side by side, or "" for anything else."""
    while name not in (step.x, h.name):
        maker = step.body.makers.get(name)
        if maker is None:
            return ""
        if maker.op == "Concat":
            return "xh" if {_kind(step, n, h) for n in maker.proto.input} == {"x", "h"} else ""
        if maker.op not in KEEPS:
            return ""
        name = maker.input(0)
    return "x" if name == step.x else "h"


def _sum_from(step: Step, node: Node) -> str:
    """The last value of a product's chain of additions."""
    name = node.output(0)
    while True:
        takers = step.body.takers.get(name, ())
        if len(takers) != 1 or takers[0].op not in ("Add", "Sum", *KEEPS):
            return name
        name = takers[0].output(0)


def _at_zero(step: Step, h: Carried, name: str, features: int, hidden: int) -> Array | None:
    """The sum where x and h are zero: its biases."""
    feeds = {
        h.name: np.zeros((1, hidden), np.float32),
        step.x: _shaped(step, np.zeros((1, features))),
    }
    found = step.run(feeds, [name])
    return None if found is None else found[0].reshape(-1)


def _shaped(step: Step, x: Array) -> Array:
    x = x.astype(np.float32)
    return x[None] if step.x_rank == 3 else x


def _trial(step: Step, h: Carried, c: Carried | None, products: Products) -> Trial | None:
    random = np.random.default_rng(0)
    x = random.standard_normal((ROWS, products.Wx.shape[0])).astype(np.float32)
    state = random.standard_normal((ROWS, products.Wh.shape[0])).astype(np.float32)
    cell = None if c is None else random.standard_normal(state.shape).astype(np.float32)
    feeds = {h.name: state, step.x: _shaped(step, x)}
    wanted = [h.successor]
    if c is not None and cell is not None:
        feeds[c.name] = cell
        wanted.append(c.successor)
    found = step.run(feeds, wanted)
    if found is None or any(array.size != state.size for array in found):
        return None
    found = [array.reshape(state.shape) for array in found]
    if not _gives_state(step, h, feeds, found[0]):
        return None
    return Trial(x, state, cell, found[0], found[1] if c is not None else None)


def _gives_state(step: Step, h: Carried, feeds: dict[str, Array], h_next: Array) -> bool:
    """Whether every sequence that is given out is the sequence of h."""
    for inner, outer, _ in step.answers:
        if outer:
            found = step.run(feeds, [inner])
            if (
                found is None
                or found[0].shape != h_next.shape
                or not np.array_equal(found[0], h_next)
            ):
                return False
    return True


Candidate = tuple[str, Array, Array, Array, dict[str, object]]


def _candidates(p: Products, has_cell: bool) -> Iterator[Candidate]:
    hidden = p.Wh.shape[0]
    gates, rest = divmod(p.Wx.shape[1], hidden)
    if (
        rest
        or p.Wh.shape[1] != p.Wx.shape[1]
        or p.bx.size != p.Wx.shape[1]
        or p.bh.size != p.bx.size
    ):
        return
    if has_cell and gates == 4:
        for order in permutations(range(4)):
            for forget in (0.0, 1.0):  # TensorFlow's old cells add a forget bias after the split
                W, R, B = _arranged(p, order)
                B[2 * hidden : 3 * hidden] += forget  # ONNX's order is i, o, f, c
                yield "LSTM", W, R, B, {}
    elif not has_cell and gates == 3:
        for order in permutations(range(3)):
            for sign in (1.0, -1.0):  # σ(−a) = 1 − σ(a): the update gate may be the other way round
                W, R, B = _arranged(p, order)
                for array in (W[:hidden], R[:hidden], B[:hidden], B[3 * hidden : 4 * hidden]):
                    array *= sign
                yield "GRU", W, R, B, {"linear_before_reset": 1}
    elif not has_cell and gates == 1:
        W, R, B = _arranged(p, (0,))
        yield "RNN", W, R, B, {}
        yield "RNN", W, R, B, {"activations": ["Relu"]}


def _arranged(p: Products, order: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """The products' columns with their blocks in another order, as ONNX lays weights out."""

    def blocks(columns: Array) -> Array:
        parts = np.split(columns, len(order), axis=-1)
        return np.concatenate([parts[index] for index in order], axis=-1)

    B = np.concatenate([blocks(p.bx), blocks(p.bh)]).astype(np.float32)
    return blocks(p.Wx).T.copy(), blocks(p.Wh).T.copy(), B


def _answers_alike(
    op: str, W: Array, R: Array, B: Array, attributes: dict[str, object], trial: Trial
) -> bool:
    with np.errstate(over="ignore"):
        found = _FORMULAS[op](W, R, B, attributes, trial)
    wanted = [trial.h_next] if trial.c_next is None else [trial.h_next, trial.c_next]
    return all(
        np.allclose(a, b, atol=CLOSE, rtol=CLOSE) for a, b in zip(found, wanted, strict=True)
    )


def _sigmoid(values: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-values)))


def _lstm(W: Array, R: Array, B: Array, attributes: dict[str, object], t: Trial) -> list[Array]:
    half = B.size // 2
    i, o, f, g = np.split(t.x @ W.T + t.h @ R.T + B[:half] + B[half:], 4, axis=1)
    c = _sigmoid(f) * t.c + _sigmoid(i) * np.tanh(g)
    return [_sigmoid(o) * np.tanh(c), c]


def _gru(W: Array, R: Array, B: Array, attributes: dict[str, object], t: Trial) -> list[Array]:
    half = B.size // 2
    zx, rx, nx = np.split(t.x @ W.T + B[:half], 3, axis=1)
    zh, rh, nh = np.split(t.h @ R.T + B[half:], 3, axis=1)
    z, r = _sigmoid(zx + zh), _sigmoid(rx + rh)
    return [(1 - z) * np.tanh(nx + r * nh) + z * t.h]


def _rnn(W: Array, R: Array, B: Array, attributes: dict[str, object], t: Trial) -> list[Array]:
    half = B.size // 2
    total = t.x @ W.T + t.h @ R.T + B[:half] + B[half:]
    return [np.maximum(total, 0) if attributes else np.tanh(total)]


_FORMULAS: dict[str, Callable[..., list[Array]]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
