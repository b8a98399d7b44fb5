"""Changing a graph in place: new nodes beside old ones, new names, new constants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rnnport.graph.scopes import Node, Reading, Scope
from rnnport.graph.sound import Body, subgraphs


class Names:
    """Hands out value names that nothing in the model uses yet."""

    def __init__(self, reading: Reading) -> None:
        self._taken = {name for scope in reading.scopes for name in _names(scope)}

    def fresh(self, wish: str) -> str:
        """The wish itself where it is free, else the wish with a number."""
        name, number = wish, 1
        while name in self._taken:
            name, number = f"{wish}.{number}", number + 1
        self._taken.add(name)
        return name


def _names(scope: Scope) -> Iterable[str]:
    yield from scope.makers
    yield from scope.initializers
    yield from scope.input_names
    yield from scope.output_names
    if isinstance(scope.body, onnx.GraphProto):
        yield from (value.name for value in scope.body.input)


def insert_before(node: Node, new: Sequence[onnx.NodeProto]) -> None:
    """Put nodes in front of a node, in the order given."""
    body = node.scope.body
    index = _index(body, node.proto)
    for offset, proto in enumerate(new):
        body.node.insert(index + offset, proto)


def insert_after(node: Node, new: Sequence[onnx.NodeProto]) -> None:
    """Put nodes behind a node, in the order given."""
    body = node.scope.body
    index = _index(body, node.proto) + 1
    for offset, proto in enumerate(new):
        body.node.insert(index + offset, proto)


def remove(node: Node) -> None:
    """Take a node out; nothing may read its outputs any more."""
    body = node.scope.body
    del body.node[_index(body, node.proto)]


def _index(body: Body, proto: onnx.NodeProto) -> int:
    for index, candidate in enumerate(body.node):
        if candidate is proto:
            return index
    return next(index for index, candidate in enumerate(body.node) if candidate == proto)


def set_input(node: Node, index: int, name: str) -> None:
    """Give a node another input; empty inputs fill the gap, empty ones at the end go."""
    inputs = node.proto.input
    while len(inputs) <= index:
        inputs.append("")
    inputs[index] = name
    while inputs and not inputs[-1]:
        inputs.pop()


def set_output(node: Node, index: int, name: str) -> None:
    """Give a node's output a name, also one that was left out so far."""
    outputs = node.proto.output
    while len(outputs) <= index:
        outputs.append("")
    outputs[index] = name


def set_attribute(node: Node, name: str, value: Any) -> None:
    """Set an attribute; ``None`` takes it away."""
    kept = [a for a in node.proto.attribute if a.name != name]
    del node.proto.attribute[:]
    node.proto.attribute.extend(kept)
    if value is not None:
        node.proto.attribute.append(helper.make_attribute(name, value))


def add_constant(scope: Scope, name: str, value: np.ndarray) -> str:
    """Make a constant visible in a scope: an initializer, in a function a Constant node."""
    tensor = numpy_helper.from_array(np.asarray(value, order="C"), name)
    if isinstance(scope.body, onnx.GraphProto):
        scope.body.initializer.append(tensor)
    else:
        scope.body.node.insert(0, helper.make_node("Constant", [], [name], value=tensor))
    return name


def rename_value(scope: Scope, old: str, new: str) -> None:
    """Give a value another name wherever it is made, read, declared or given out."""
    body = scope.body
    for node in body.node:
        _rename(node, old, new)
    if isinstance(body, onnx.FunctionProto):
        for names in (body.input, body.output):
            for index, name in enumerate(names):
                names[index] = new if name == old else name
        return
    for value in (*body.input, *body.output, *body.value_info, *body.initializer):
        if value.name == old:
            value.name = new


def _rename(node: onnx.NodeProto, old: str, new: str) -> None:
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            if name == old:
                names[index] = new
    for _, graph in subgraphs(node):
        for inner in graph.node:
            _rename(inner, old, new)
        for value in graph.output:
            if value.name == old:
                value.name = new


def forget_shapes(model: onnx.ModelProto) -> None:
    """Drop what the file says of inner shapes: after a change it may no longer be true."""

    def forget(graph: onnx.GraphProto) -> None:
        del graph.value_info[:]
        for node in graph.node:
            for _, inner in subgraphs(node):
                forget(inner)

    forget(model.graph)
    for function in model.functions:
        del function.value_info[:]


def keep_nodes(body: Body, kept: Sequence[onnx.NodeProto]) -> None:
    """Leave only these of a body's nodes, in their order."""
    if len(kept) < len(body.node):
        _replace(body.node, kept)


def drop_unused(model: onnx.ModelProto) -> None:
    """Drop initializers of the main graph, and nodes anywhere in it, that lead to no output."""
    graph = model.graph
    wanted = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(_read_by(node))
    kept = [node for node in graph.node if wanted.intersection(node.output)]
    initializers = [tensor for tensor in graph.initializer if tensor.name in wanted]
    if len(kept) < len(graph.node):
        _replace(graph.node, kept)
    if len(initializers) < len(graph.initializer):
        gone = _gone(graph, wanted)
        inputs = [value for value in graph.input if value.name not in gone]
        _replace(graph.initializer, initializers)
        _replace(graph.input, inputs)


def _gone(graph: onnx.GraphProto, wanted: set[str]) -> set[str]:
    """Dropped initializers; old files list each as an input too, which would then be missing."""
    return {tensor.name for tensor in graph.initializer} - wanted


def _replace(field: Any, kept: Sequence[Any]) -> None:
    copies = [type(item)() for item in kept]
    for copy, item in zip(copies, kept, strict=True):
        copy.CopyFrom(item)
    del field[:]
    field.extend(copies)


def _read_by(node: onnx.NodeProto) -> set[str]:
    names = {name for name in node.input if name}
    for _, graph in subgraphs(node):
        names.update(value.name for value in graph.output)
        for inner in graph.node:
            names |= _read_by(inner)
    return names
