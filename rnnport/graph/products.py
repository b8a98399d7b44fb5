"""The matrix products of a recurrent step: what multiplies its input, and what its state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnport.graph.scopes import Node
from rnnport.graph.steps import Carried, Step

KEEPS = ("Identity", "Squeeze", "Unsqueeze", "Reshape")
MOST_PRODUCTS = 4  # with one operand: one for each gate of an LSTM
Array = np.ndarray


@dataclass(frozen=True)
class Products:
    """The step's products in columns: x·Wx + bx and h·Wh + bh; a reset GRU's also (r ∘ h)·Wr + br.

    ``apart``: they were several products, so that the blocks of x and of h may differ in order.
    """

    Wx: Array  # [I, g·H]
    Wh: Array  # [H, g·H]
    bx: Array
    bh: Array
    Wr: Array | None = None  # [H, H]
    br: Array | None = None
    apart: bool = False


@dataclass(frozen=True)
class _Product:
    node: Node
    weight: Array


def products_of(step: Step, h: Carried) -> Products | None:
    """The products with x and with h; both in one where a kernel takes [x, h] side by side."""
    found: dict[str, list[_Product]] = {}
    for node in step.body.nodes:
        if node.op in ("MatMul", "Gemm"):
            weight = _weight(step, node)
            if weight is None:
                return None
            found.setdefault(_kind(step, node.input(0), h), []).append(_Product(node, weight))
    if any(len(each) > MOST_PRODUCTS for each in found.values()):
        return None
    if set(found) == {"xh"} and len(found["xh"]) == 1:
        return _joint(step, h, found["xh"][0])
    if set(found) == {"x", "h"}:
        return _separate(step, h, found["x"], found["h"])
    if set(found) == {"x", "h", "rh"} and len(found["rh"]) == 1:
        return _with_reset(step, h, found)
    return None


def shaped(step: Step, x: Array) -> Array:
    """Rows of x [rows, features] as the step's body takes them."""
    x = x.astype(np.float32)
    return x[None] if step.x_rank == 3 else x


def _joint(step: Step, h: Carried, product: _Product) -> Products | None:
    concat = _behind(step, product.node.input(0))
    if concat is None or concat.op != "Concat" or len(concat.proto.input) != 2:
        return None
    x_first = _kind(step, concat.input(0), h) == "x"
    weight, width = product.weight, step.body.shape(h.name)
    hidden = weight.shape[1] // 4 if width is None or not isinstance(width[-1], int) else width[-1]
    cut = weight.shape[0] - hidden if x_first else hidden
    first, second = weight[:cut], weight[cut:]
    Wx, Wh = (first, second) if x_first else (second, first)
    if not Wx.size or not Wh.size:
        return None
    total = _at_zero(step, h, _sum_from(step, product.node), Wx.shape[0], Wh.shape[0])
    return None if total is None else Products(Wx, Wh, total, np.zeros_like(total))


def _separate(
    step: Step, h: Carried, of_x: list[_Product], of_h: list[_Product]
) -> Products | None:
    Wx, Wh = _side_by_side(of_x), _side_by_side(of_h)
    if Wx is None or Wh is None:
        return None
    sizes = Wx.shape[0], Wh.shape[0]
    sums = {_sum_from(step, product.node) for product in of_x}
    bx = _biases(step, h, of_x, sizes, set())
    bh = _biases(step, h, of_h, sizes, sums)
    if bx is None or bh is None:
        return None
    return Products(Wx, Wh, bx, bh, apart=len(of_x) > 1 or len(of_h) > 1)


def _with_reset(step: Step, h: Carried, found: dict[str, list[_Product]]) -> Products | None:
    """What multiplies r ∘ h is a gate's last product; its bias meets that of x in one sum."""
    plain = _separate(step, h, found["x"], found["h"])
    (product,) = found["rh"]
    if plain is None:
        return None
    sizes = plain.Wx.shape[0], plain.Wh.shape[0]
    sums = {_sum_from(step, each.node) for each in found["x"]}
    br = _biases(step, h, [product], sizes, sums)
    if br is None or _sum_from(step, product.node) not in sums:
        # x's columns may be split first and summed with this product after it: then the whole sum
        # at zero holds x's biases too, which are in bx already.
        br = _own_bias(step, h, product, sizes)
    if br is None:
        return None
    return Products(plain.Wx, plain.Wh, plain.bx, plain.bh, product.weight, br, plain.apart)


def _own_bias(step: Step, h: Carried, product: _Product, sizes: tuple[int, int]) -> Array | None:
    """What a product gives by itself where x and h are zero: a Gemm's bias."""
    return _at_zero(step, h, product.node.output(0), *sizes)


def _side_by_side(products: list[_Product]) -> Array | None:
    rows = {product.weight.shape[0] for product in products}
    return np.concatenate([p.weight for p in products], axis=1) if len(rows) == 1 else None


def _biases(
    step: Step, h: Carried, products: list[_Product], sizes: tuple[int, int], counted: set[str]
) -> Array | None:
    """Each product's sum at zero; zeros where the sum is one that was counted already."""
    parts = []
    for product in products:
        name, width = _sum_from(step, product.node), product.weight.shape[1]
        bias = np.zeros(width, np.float32) if name in counted else _at_zero(step, h, name, *sizes)
        if bias is None or bias.size != width:
            return None
        parts.append(bias)
    return np.concatenate(parts)


def _weight(step: Step, node: Node) -> Array | None:
    value = step.constants.value(step.body, node.input(1))
    if value is None or value.ndim != 2 or not value.size:
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
    """What a product multiplies: "x", "h", "xh" side by side, "rh" for a gated h, or ""."""
    while name not in (step.x, h.name):
        maker = step.body.makers.get(name)
        if maker is None:
            return ""
        if maker.op == "Concat":
            return "xh" if {_kind(step, n, h) for n in maker.proto.input} == {"x", "h"} else ""
        if maker.op == "Mul":
            return "rh" if h.name in maker.proto.input else ""
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
        step.x: shaped(step, np.zeros((1, features))),
    }
    found = step.run(feeds, [name])
    return None if found is None else found[0].reshape(-1)
