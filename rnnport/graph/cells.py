"""Recognising a plain LSTM, GRU or RNN in a step, by what the step answers.

The weights are read from the step's products (``products.py``); which block of them is which gate,
and what squashes it, is found by trying: the step runs on random states and inputs, and an
arrangement is taken when its answers are the step's. So it does not matter how an exporter spells
the cell. Formulas: the ONNX operators LSTM, GRU and RNN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from rnnport.graph.products import Products, products_of, shaped
from rnnport.graph.steps import Carried, Step

ROWS = 6  # of the random batch
CLOSE = 1e-4
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
class Trial:
    """What random states and inputs become: sums of the gates' blocks, and the answers."""

    h: Array
    c: Array | None
    from_x: list[Array]  # one block [rows, H] for each gate that x feeds
    from_h: list[Array]
    h_next: Array
    c_next: Array | None


@dataclass(frozen=True)
class Squash:
    """An activation with its name and parameters in ONNX."""

    name: str
    of: Callable[[Array], Array]
    alpha: float | None = None
    beta: float | None = None


def _sigmoid(values: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-values)))


def _hard_sigmoid(alpha: float) -> Squash:
    def of(values: Array) -> Array:
        return np.asarray(np.clip(alpha * values + 0.5, 0.0, 1.0))

    return Squash("HardSigmoid", of, alpha, 0.5)


SIGMOID, TANH = Squash("Sigmoid", _sigmoid), Squash("Tanh", np.tanh)
GATES = (SIGMOID, _hard_sigmoid(0.2), _hard_sigmoid(1 / 6))  # Keras 2 has 0.2, Keras 3 has 1/6
SQUASHES = (
    TANH,
    Squash("Relu", lambda values: np.maximum(values, 0)),
    Squash("Softsign", lambda values: values / (1 + np.abs(values))),
)


def cell_of(step: Step) -> Cell | None:
    """The plain cell that a step is, or ``None``."""
    if len(step.states) == 1:
        return _cell(step, step.states[0], None)
    if len(step.states) == 2:
        one, other = step.states
        return _cell(step, one, other) or _cell(step, other, one)
    return None


def _cell(step: Step, h: Carried, c: Carried | None) -> Cell | None:
    products = products_of(step, h)
    trial = None if products is None else _trial(step, h, c, products)
    if products is None or trial is None:
        return None
    with np.errstate(over="ignore"):
        if products.Wr is not None:
            found = None if c is not None else _gru_reset_first(products, trial)
        elif c is not None:
            found = _lstm(products, trial)
        else:
            found = _gru(products, trial) or _rnn(products, trial)
    if found is None:
        return None
    op, W, R, B, attributes = found
    W, R, B = (np.asarray(weights, np.float32) for weights in (W, R, B))
    return Cell(op, h, c, W, R, B, attributes)


def _trial(step: Step, h: Carried, c: Carried | None, products: Products) -> Trial | None:
    random = np.random.default_rng(0)
    features, hidden = products.Wx.shape[0], products.Wh.shape[0]
    if products.Wx.shape[1] % hidden or products.Wh.shape[1] % hidden:
        return None
    x = random.standard_normal((ROWS, features)).astype(np.float32)
    state = random.standard_normal((ROWS, hidden)).astype(np.float32)
    cell = None if c is None else random.standard_normal(state.shape).astype(np.float32)
    feeds = {h.name: state, step.x: shaped(step, x)}
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
    from_x = _blocks(x @ products.Wx + products.bx, hidden)
    from_h = _blocks(state @ products.Wh + products.bh, hidden)
    return Trial(state, cell, from_x, from_h, found[0], found[1] if c is not None else None)


def _blocks(columns: Array, hidden: int) -> list[Array]:
    return np.split(columns, max(1, columns.shape[-1] // hidden), axis=-1)


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


Found = tuple[str, Array, Array, Array, dict[str, object]]


def _orders(p: Products, gates: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Which block of x's and of h's columns is which gate, in ONNX's order of gates."""
    for order in permutations(range(gates)):
        for other in permutations(range(gates)) if p.apart else (order,):
            yield order, other


def _lstm(p: Products, t: Trial) -> Found | None:
    if t.c is None or t.c_next is None or len(t.from_x) != 4 or len(t.from_h) != 4:
        return None
    for x_order, h_order in _orders(p, 4):
        i, o, f, g = (
            t.from_x[a] + t.from_h[b] for a, b in zip(x_order, h_order, strict=True)
        )  # fmt: skip
        # TensorFlow's old cells add a forget bias after the split
        for gate, squash, forget in product(GATES, SQUASHES, (0.0, 1.0)):
            c = gate.of(f + forget) * t.c + gate.of(i) * squash.of(g)
            if _close(c, t.c_next) and _close(gate.of(o) * squash.of(c), t.h_next):
                W, R, B = _arranged(p, x_order, h_order)
                hidden = p.Wh.shape[0]
                B[2 * hidden : 3 * hidden] += forget  # ONNX's order is i, o, f, c
                return "LSTM", W, R, B, _activations(gate, squash, squash)
    return None


def _gru(p: Products, t: Trial) -> Found | None:
    if len(t.from_x) != 3 or len(t.from_h) != 3:
        return None
    for x_order, h_order in _orders(p, 3):
        zx, rx, nx = (t.from_x[place] for place in x_order)
        zh, rh, nh = (t.from_h[place] for place in h_order)
        for gate, squash, sign in product(GATES, SQUASHES, (1.0, -1.0)):
            z = gate.of(sign * (zx + zh))
            n = squash.of(nx + gate.of(rx + rh) * nh)
            if _close((1 - z) * n + z * t.h, t.h_next):
                arranged = _turned(*_arranged(p, x_order, h_order), sign)
                return "GRU", *arranged, {"linear_before_reset": 1, **_activations(gate, squash)}
    return None


def _gru_reset_first(p: Products, t: Trial) -> Found | None:
    """The GRU of the first paper, Keras' ``reset_after=False``: tanh(x·Wn + (r ∘ h)·Rn + bn)."""
    if len(t.from_x) != 3 or len(t.from_h) != 2 or p.Wr is None or p.br is None:
        return None
    if p.Wr.shape != (t.h.shape[1], t.h.shape[1]):
        return None
    for x_order, h_order in product(permutations(range(3)), permutations(range(2))):
        zx, rx, nx = (t.from_x[place] for place in x_order)
        zh, rh = (t.from_h[place] for place in h_order)
        for gate, squash, sign in product(GATES, SQUASHES, (1.0, -1.0)):
            z = gate.of(sign * (zx + zh))
            n = squash.of(nx + (gate.of(rx + rh) * t.h) @ p.Wr + p.br)
            if _close((1 - z) * n + z * t.h, t.h_next):
                whole = Products(
                    p.Wx, np.concatenate([p.Wh, p.Wr], 1), p.bx, np.concatenate([p.bh, p.br])
                )
                arranged = _turned(*_arranged(whole, x_order, (*h_order, 2)), sign)
                return "GRU", *arranged, {"linear_before_reset": 0, **_activations(gate, squash)}
    return None


def _rnn(p: Products, t: Trial) -> Found | None:
    if len(t.from_x) != 1 or len(t.from_h) != 1:
        return None
    for squash in (*SQUASHES, SIGMOID):
        if _close(squash.of(t.from_x[0] + t.from_h[0]), t.h_next):
            return "RNN", *_arranged(p, (0,), (0,)), _activations(squash)
    return None


def _close(one: Array, other: Array) -> bool:
    return bool(np.allclose(one, other, atol=CLOSE, rtol=CLOSE))


def _arranged(
    p: Products, x_order: tuple[int, ...], h_order: tuple[int, ...]
) -> tuple[Array, Array, Array]:
    """The products' columns with their blocks in another order, as ONNX lays weights out."""

    def blocks(columns: Array, order: tuple[int, ...]) -> Array:
        parts = np.split(columns, len(order), axis=-1)
        return np.concatenate([parts[index] for index in order], axis=-1)

    B = np.concatenate([blocks(p.bx, x_order), blocks(p.bh, h_order)])
    return blocks(p.Wx, x_order).T.copy(), blocks(p.Wh, h_order).T.copy(), B


def _turned(W: Array, R: Array, B: Array, sign: float) -> tuple[Array, Array, Array]:
    """σ(−a) = 1 − σ(a): the update gate, ONNX's first, may be meant the other way round."""
    hidden = R.shape[1]
    for array in (W[:hidden], R[:hidden], B[:hidden], B[3 * hidden : 4 * hidden]):
        array *= sign
    return W, R, B


def _activations(*squashes: Squash) -> dict[str, object]:
    """The attributes that name a cell's activations; none where they are the operator's own."""
    if all(squash in (SIGMOID, TANH) for squash in squashes) and squashes != (SIGMOID,):
        return {}
    found: dict[str, object] = {"activations": [squash.name for squash in squashes]}
    alphas = [squash.alpha for squash in squashes if squash.alpha is not None]
    betas = [squash.beta for squash in squashes if squash.beta is not None]
    return found | ({"activation_alpha": alphas, "activation_beta": betas} if alphas else {})
