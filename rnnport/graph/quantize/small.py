"""Small forms of a weight: int8 with one scale for each output channel, bfloat16 or float16.

A function of ours takes a weight's parts themselves. For every other operator the weight is made
from its parts by Cast and Mul, at the head of the graph that holds it; a stock ONNX Runtime folds
the two when it loads the file.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rnnport.graph.rewrite import Names
from rnnport.graph.scopes import Scope

LEVELS = 127  # int8 without -128: symmetric


@dataclass(frozen=True)
class Small:
    """A weight's parts: the values, and the scales they are multiplied with (None: just cast)."""

    values: np.ndarray
    scale: np.ndarray | None

    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.scale is None else self.scale.nbytes)

    def restored(self) -> np.ndarray:
        """The weight that the parts stand for, in float32."""
        plain = self.values.astype(np.float32)
        return plain if self.scale is None else plain * self.scale


def to_int8(weight: np.ndarray, axes: tuple[int, ...]) -> Small:
    """Round to int8, symmetric, with one scale for all elements along ``axes``."""
    largest = np.abs(weight).max(axis=axes, keepdims=True, initial=0.0)  # of no weights: zero
    scale = largest.astype(np.float32) / np.float32(LEVELS)
    scale[scale == 0] = 1
    return Small(np.rint(weight / scale).clip(-LEVELS, LEVELS).astype(np.int8), scale)


def to_bfloat16(weight: np.ndarray) -> Small:
    """Round to bfloat16, ties to even."""
    return Small(weight.astype(ml_dtypes.bfloat16), None)


class Parts:
    """The parts of each weight in a model, stored once however many nodes share them."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._stored: dict[tuple[int, str], tuple[str, str]] = {}
        self._restored: dict[str, str] = {}  # values → the weight

    def store(self, scope: Scope, name: str, small: Small) -> tuple[str, str]:
        """Initializers with the parts, where the weight is: (values, scale or an empty name)."""
        home = scope.home(name)
        key = (id(home), name)
        if key not in self._stored:
            values = self._add(home, f"{name}.{small.values.dtype}", small.values)
            scale = "" if small.scale is None else self._add(home, f"{name}.scale", small.scale)
            self._stored[key] = (values, scale)
        return self._stored[key]

    def restored(self, scope: Scope, name: str, small: Small) -> str:
        """The name of the weight made from its parts, for those of its readers that take it."""
        home = scope.home(name)
        values, scale = self.store(scope, name, small)
        if values not in self._restored:
            answer = self._names.fresh(f"{name}.float32")
            cast = self._names.fresh(f"{name}.cast") if scale else answer
            nodes = [helper.make_node("Cast", [values], [cast], to=TensorProto.FLOAT)]
            if scale:
                nodes.append(helper.make_node("Mul", [cast, scale], [answer]))
            for index, node in enumerate(nodes):
                home.body.node.insert(index, node)
            self._restored[values] = answer
        return self._restored[values]

    def _add(self, home: Scope, wish: str, values: np.ndarray) -> str:
        name = self._names.fresh(wish)
        assert isinstance(home.body, onnx.GraphProto), "functions are inlined before"
        home.body.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def forget(home: Scope, name: str) -> None:
    """Take an initializer or a Constant node out of the graph that holds it."""
    body = home.body
    for field in (body.initializer, body.input) if isinstance(body, onnx.GraphProto) else ():
        for index in reversed(range(len(field))):
            if field[index].name == name:
                del field[index]
    for index in reversed(range(len(body.node))):
        if body.node[index].op_type == "Constant" and name in body.node[index].output:
            del body.node[index]
