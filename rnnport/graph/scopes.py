"""An ONNX model read once: who makes each value, who takes it, what is constant, of what shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper, helper, numpy_helper

from rnnport.graph.shapes import inferred
from rnnport.graph.sound import Body, standard_opset, subgraphs
from rnnport.spec import Dim

Shape = tuple[Dim, ...]  # a fixed size, the name of a symbolic axis, or "" where nothing is known


@dataclass(frozen=True, eq=False)
class Node:
    """One operator in its place."""

    proto: onnx.NodeProto
    scope: Scope

    @cached_property
    def op(self) -> str:
        """The operator of the standard, empty where the node is of another domain."""
        return self.proto.op_type if self.proto.domain in ("", "ai.onnx") else ""

    @property
    def label(self) -> str:
        """What a person calls the node: its path, and its name or its first output."""
        own = self.proto.name or next(filter(None, self.proto.output), self.proto.op_type)
        return f"{self.scope.path}{own}"

    def input(self, index: int) -> str:
        """The name of the input, empty where the node does not have it."""
        return self.proto.input[index] if index < len(self.proto.input) else ""

    def output(self, index: int) -> str:
        """The name of the output, empty where the node does not have it."""
        return self.proto.output[index] if index < len(self.proto.output) else ""

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value; ``default`` where the node has none, or each call gives its own."""
        for attribute in self.proto.attribute:
            if attribute.name == name and not attribute.ref_attr_name:
                return helper.get_attribute_value(attribute)
        return default


@dataclass(frozen=True, eq=False)
class Scope:
    """One graph or function body, and the names that its nodes see."""

    path: str  # empty for the main graph, "decoder.body/" for a graph inside the node "decoder"
    body: Body
    opset: int  # the version of the standard operators in it
    parent: Scope | None = None
    owner: Node | None = None  # the node whose attribute this graph is
    nodes: list[Node] = field(default_factory=list)
    makers: dict[str, Node] = field(default_factory=dict)
    takers: dict[str, list[Node]] = field(default_factory=dict)  # inner graphs' nodes included
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    children: list[Scope] = field(default_factory=list)  # the graphs inside this one's nodes
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)

    @property
    def is_function(self) -> bool:
        return isinstance(self.body, onnx.FunctionProto)

    @property
    def input_names(self) -> list[str]:
        """The values that come from outside at run time."""
        if isinstance(self.body, onnx.FunctionProto):
            return list(self.body.input)
        return [v.name for v in self.body.input if v.name not in self.initializers]

    @property
    def output_names(self) -> list[str]:
        if isinstance(self.body, onnx.FunctionProto):
            return list(self.body.output)
        return [value.name for value in self.body.output]

    def home(self, name: str) -> Scope:
        """The scope that defines a name which is visible here."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.makers or name in scope.initializers or name in scope.input_names:
                return scope
            scope = scope.parent
        return self

    def maker(self, name: str) -> Node | None:
        """The node that makes the value, here or in a graph around this one."""
        return self.home(name).makers.get(name)

    def unchanged(self, name: str) -> str | None:
        """What stands outside a Loop for a value that it carries round and never changes."""
        loop, inputs = self.owner, self.input_names
        if loop is None or loop.op != "Loop" or name not in inputs[2:]:
            return None
        place = inputs.index(name)
        successor = self.output_names[place - 1] if place <= len(self.output_names) else ""
        while (maker := self.makers.get(successor)) is not None and maker.op == "Identity":
            successor = maker.input(0)
        return loop.input(place) if successor == name else None

    def tensor(self, name: str) -> onnx.TensorProto | None:
        """The value's tensor where it is an initializer or a Constant node."""
        home = self.home(name)
        if name in home.initializers:
            return home.initializers[name]
        node = home.makers.get(name)
        if node is None or node.op != "Constant":
            return None
        return _constant_tensor(node.proto)

    def array(self, name: str, largest: int = 1 << 28) -> np.ndarray | None:
        """The value where it is constant, its data is in the file and it is not absurdly large."""
        tensor = self.tensor(name) if name else None
        if tensor is None or external_data_helper.uses_external_data(tensor):
            return None
        if int(np.prod(tensor.dims, dtype=object)) > largest:
            return None
        return np.asarray(numpy_helper.to_array(tensor))

    def shape(self, name: str) -> Shape | None:
        """The value's axes, or nothing where not even their number is known."""
        home = self.home(name)
        if name in home.initializers:
            return tuple(home.initializers[name].dims)
        return home.shapes.get(name)

    def dtype(self, name: str) -> str:
        """NumPy's name of the value's type, empty where it is not known."""
        home = self.home(name)
        if name in home.initializers:
            return dtype_name(home.initializers[name].data_type)
        return home.dtypes.get(name, "")


class Reading:
    """A sound model with its scopes; read a changed model anew."""

    def __init__(self, model: onnx.ModelProto, folder: Path | None = None) -> None:
        self.model = model
        self.folder = folder  # where its external data lie
        self.found: dict[type, Any] = {}  # what others worked out about the whole of it
        self.opset = standard_opset(model.opset_import)
        self.main = _read(model.graph, "", self.opset)
        self.functions = {
            (function.domain, function.name): _read(
                function, f"{function.name}/", standard_opset(function.opset_import)
            )
            for function in model.functions
        }
        self._fill_shapes()

    @cached_property
    def scopes(self) -> list[Scope]:
        """Every graph and function body, outer ones first."""
        found: list[Scope] = []
        for root in (self.main, *self.functions.values()):
            found.extend(_walk(root))
        return found

    def nodes(self) -> Iterator[Node]:
        """Every node of every scope."""
        for scope in self.scopes:
            yield from scope.nodes

    def nodes_of(self, *ops: str) -> list[Node]:
        """The nodes of some standard operators, in the file's order."""
        found = [place for op in ops for place in self._places.get(op, ())]
        return [node for _, node in sorted(found, key=lambda place: place[0])]

    @cached_property
    def _places(self) -> dict[str, list[tuple[int, Node]]]:
        places: dict[str, list[tuple[int, Node]]] = {}
        for index, node in enumerate(self.nodes()):
            places.setdefault(node.op, []).append((index, node))
        return places

    @cached_property
    def metadata(self) -> dict[str, str]:
        return {entry.key: entry.value for entry in self.model.metadata_props}

    def calls(self, scope: Scope) -> list[Node]:
        """The nodes that call a function's body."""
        body = scope.body
        if not isinstance(body, onnx.FunctionProto):
            return []
        return self._calls.get((body.domain, body.name), [])

    @cached_property
    def _calls(self) -> dict[tuple[str, str], list[Node]]:
        calls: dict[tuple[str, str], list[Node]] = {}
        for node in self.nodes() if self.functions else ():
            key = (node.proto.domain, node.proto.op_type)
            if key in self.functions:
                calls.setdefault(key, []).append(node)
        return calls

    def _fill_shapes(self) -> None:
        known = inferred(self.model)
        _shapes_into(self.main, known.graph)
        for function in known.functions:
            _shapes_into(self.functions[(function.domain, function.name)], function)
        # A body declares no shapes of its own: what all its calls agree on is known, callers first.
        waiting = list(self.functions.values())
        for _ in self.functions:
            waiting = [body for body in waiting if not self._shapes_from_calls(body)]

    def _shapes_from_calls(self, body: Scope) -> bool:
        """Give a function's inputs the shapes and types that they have at every call."""
        learnt, calls = False, self.calls(body)
        for place, name in enumerate(body.input_names):
            given = [(call.scope, call.input(place)) for call in calls]
            shapes = {scope.shape(outside) for scope, outside in given}
            dtypes = {scope.dtype(outside) for scope, outside in given}
            if len(shapes) == 1 and (shape := shapes.pop()) is not None:
                learnt |= body.shapes.setdefault(name, shape) is shape
            if len(dtypes) == 1:
                body.dtypes.setdefault(name, dtypes.pop())
        return learnt


@cache
def dtype_name(kind: int) -> str:
    """NumPy's name of an ONNX element type ("bfloat16" and the like included)."""
    try:
        return str(helper.tensor_dtype_to_np_dtype(kind))
    except (KeyError, TypeError):
        return ""


def _read(
    body: Body, path: str, opset: int, parent: Scope | None = None, owner: Node | None = None
) -> Scope:
    scope = Scope(path, body, opset, parent, owner)
    if isinstance(body, onnx.GraphProto):
        scope.initializers.update((tensor.name, tensor) for tensor in body.initializer)
    for proto in body.node:
        node = Node(proto, scope)
        scope.nodes.append(node)
        scope.makers.update((name, node) for name in proto.output if name)
    for node in scope.nodes:
        for name in dict.fromkeys(filter(None, node.proto.input)):
            scope.home(name).takers.setdefault(name, []).append(node)
        for attribute, graph in subgraphs(node.proto):
            inner = _read(graph, f"{node.label}.{attribute}/", opset, scope, node)
            scope.children.append(inner)
    return scope


def _walk(scope: Scope) -> Iterator[Scope]:
    yield scope
    for child in scope.children:
        yield from _walk(child)


def _shapes_into(scope: Scope, body: Body) -> None:
    values = list(body.value_info)
    if isinstance(body, onnx.GraphProto):
        values += [*body.input, *body.output]
    for value in values:
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type"):
            continue
        scope.dtypes[value.name] = dtype_name(kind.elem_type)
        if kind.HasField("shape"):
            scope.shapes[value.name] = tuple(_dim(dim) for dim in kind.shape.dim)
    for node in scope.nodes:
        if node.op == "Constant" and (tensor := _constant_tensor(node.proto)) is not None:
            scope.shapes[node.output(0)] = tuple(tensor.dims)
            scope.dtypes[node.output(0)] = dtype_name(tensor.data_type)
    inner = (graph for node in body.node for _, graph in subgraphs(node))
    for child, graph in zip(scope.children, inner, strict=True):
        _shapes_into(child, graph)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else ""
    return str(dim.dim_param)


def _constant_tensor(node: onnx.NodeProto) -> onnx.TensorProto | None:
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor: onnx.TensorProto = attribute.t
            return tensor
        if attribute.name in ("value_float", "value_floats"):
            return numpy_helper.from_array(
                np.asarray(helper.get_attribute_value(attribute), np.float32)
            )
        if attribute.name in ("value_int", "value_ints"):
            return numpy_helper.from_array(
                np.asarray(helper.get_attribute_value(attribute), np.int64)
            )
    return None
