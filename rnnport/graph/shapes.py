"""Asking ONNX for the shapes inside a model, with care for files made to exhaust it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import shape_inference

from rnnport.graph.sound import element_count, subgraphs

LARGEST_MODEL = 1 << 30  # bytes; the inference copies the whole model
LARGEST_VECTOR = 1 << 20  # elements; the inference computes with vectors, whatever their length
SHAPE = 64  # elements of a Shape node's answer, at most
# By these onnx's inference can come to a negative size, at which its Slice aborts the process.
SHRINKING = {"Pad", "Expand", "Split", "Resize", "Upsample", "Conv", "ConvTranspose", "Col2Im"}
POOLING = ("Pool", "PoolV2")
PASSES = 8
REFUSALS = (shape_inference.InferenceError, RuntimeError, ValueError, TypeError, MemoryError)
APART = "rnnport.unread"  # a domain that the inference does not know


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that follow from its inputs; itself where they cannot be had.

    What nodes compute from shapes (Shape, Gather, Concat, …, Reshape) is followed too, unless the
    file could grow such a vector without bound: Concat of a value with itself, sixty times over.
    """
    if model.ByteSize() >= LARGEST_MODEL:
        return model
    try:
        model = _without_negative_sizes(model)
        if not _slices_stay_sound(model):
            return model
        return shape_inference.infer_shapes(model, data_prop=_vectors_stay_small(model))
    except REFUSALS:
        return model  # what the file itself declares is all there is


def can_be_inferred(model: onnx.ModelProto) -> bool:
    """Whether onnx's inference, which its full check runs too, comes to no abort."""
    try:
        return not _negative(model.graph) and _slices_stay_sound(model)
    except REFUSALS:
        return False


def _without_negative_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """What some exporters write for an open axis, -1, as an open axis."""
    if not _negative(model.graph):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in _values(copy.graph):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.Clear()
    return copy


def _slices_stay_sound(model: onnx.ModelProto) -> bool:
    """Whether no Slice meets a negative size: the inference without Slices shows what they read."""
    nodes = list(_nodes(model.graph.node))
    kinds = {node.op_type for node in nodes}
    shrinks = any(kind in SHRINKING or kind.endswith(POOLING) for kind in kinds)
    if "Slice" not in kinds or not shrinks:
        return True
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    apart = [node for node in _nodes(copy.graph.node) if node.op_type == "Slice"]
    domains = {id(node): node.domain for node in apart}
    copy.opset_import.add(domain=APART, version=1)
    for node in apart:
        node.domain = APART
    for _ in range(PASSES):
        known = shape_inference.infer_shapes(copy, data_prop=_vectors_stay_small(copy)).graph
        if _negative(known):
            return False
        shaped = _shaped(known)
        ready = [node for node in apart if node.input and node.input[0] in shaped]
        if not ready:
            break
        for node in ready:
            node.domain = domains[id(node)]
        apart = [node for node in apart if node.domain == APART]
    return True


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for _, inner in subgraphs(node):
            yield from _nodes(inner.node)


def _values(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    yield from (*graph.input, *graph.output, *graph.value_info)
    for node in graph.node:
        for _, inner in subgraphs(node):
            yield from _values(inner)


def _negative(graph: onnx.GraphProto) -> bool:
    return any(
        dim.dim_value < 0
        for value in _values(graph)
        for dim in value.type.tensor_type.shape.dim
    )  # fmt: skip


def _shaped(graph: onnx.GraphProto) -> set[str]:
    return {v.name for v in _values(graph) if v.type.tensor_type.HasField("shape")}


def _vectors_stay_small(model: onnx.ModelProto) -> bool:
    if any(node.op_type == "Concat" for function in model.functions for node in function.node):
        return False  # how often a body runs on its own answers is not known
    return _longest(model.graph, {}, SHAPE) <= LARGEST_VECTOR


def _longest(graph: onnx.GraphProto, sizes: dict[str, int], longest: int) -> int:
    """The longest vector that following the graph could compute, from above."""
    for value in graph.input:
        sizes[value.name] = _declared(value)
    for tensor in graph.initializer:
        sizes[tensor.name] = _length(tensor)
    for node in graph.node:
        for _, inner in subgraphs(node):
            longest = max(longest, _longest(inner, sizes, longest))
        taken = [sizes.get(name, longest) for name in node.input if name] or [SHAPE]
        size = sum(taken) if node.op_type == "Concat" else max(taken)
        for attribute in node.attribute:
            if attribute.HasField("t"):
                size = _length(attribute.t)
        size = min(size, LARGEST_VECTOR + 1)  # no longer than it takes to know
        sizes.update((name, size) for name in node.output)
        longest = max(longest, size)
    return longest


def _declared(value: onnx.ValueInfoProto) -> int:
    """The inference makes a symbol for each element of an input that may be a shape."""
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return min(max(SHAPE, *sizes), LARGEST_VECTOR + 1) if len(sizes) == 1 else SHAPE


def _length(tensor: onnx.TensorProto) -> int:
    """Matrices and more are not computed with, only numbers and vectors."""
    if len(tensor.dims) > 1:
        return 0
    return min(element_count(tensor.dims, tensor.name), LARGEST_VECTOR + 1)
