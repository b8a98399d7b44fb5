"""Small forms of a weight: int8 with one scale for each output channel, bfloat16 or float16.

A weight takes its small form in one of two places. A function of ours takes the parts themselves;
for every other operator the weight's own name is made from its parts by Cast and Mul at the head of
the graph that holds it, so that no reader of the name changes, and a stock ONNX Runtime folds the
two when it loads the file.
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
    scale = np.abs(weight).max(axis=axes, keepdims=True).astype(np.float32) / np.float32(LEVELS)
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
        self._restored: set[tuple[int, str]] = set()

    def store(self, scope: Scope, name: str, small: Small) -> tuple[str, str]:
        """Initializers with the parts, where the weight is: (values, scale or an empty name)."""
        home = scope.home(name)
        key = (id(home), name)
        if key not in self._stored:
            values = self._add(home, f"{name}.{small.values.dtype}", small.values)
            scale = "" if small.scale is None else self._add(home, f"{name}.scale", small.scale)
            self._stored[key] = (values, scale)
        return self._stored[key]

    def restore_in_place(self, scope: Scope, name: str, small: Small) -> None:
        """Make the weight's own name from its parts, for the readers that it has."""
        home = scope.home(name)
        values, scale = self.store(scope, name, small)
        if (id(home), name) in self._restored:
            return
        self._restored.add((id(home), name))
        forget(home, name)
        if not scale:
            nodes = [helper.make_node("Cast", [values], [name], to=TensorProto.FLOAT)]
        else:
            cast = self._names.fresh(f"{name}.cast")
            nodes = [
                helper.make_node("Cast", [values], [cast], to=TensorProto.FLOAT),
                helper.make_node("Mul", [cast, scale], [name]),
            ]
        for index, node in enumerate(nodes):
            home.body.node.insert(index, node)

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
