"""Asking ONNX for the shapes inside a model, with care for files made to exhaust it."""

from __future__ import annotations

import onnx
from onnx import shape_inference

from rnnport.graph.sound import element_count, subgraphs

LARGEST_MODEL = 1 << 30  # bytes; the inference copies the whole model
LARGEST_VECTOR = 1 << 20  # elements; the inference computes with vectors, whatever their length
SHAPE = 64  # elements of a Shape node's answer, at most


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that follow from its inputs; itself where they cannot be had.

    What nodes compute from shapes (Shape, Gather, Concat, …, Reshape) is followed too, unless the
    file could grow such a vector without bound: Concat of a value with itself, sixty times over.
    """
    if model.ByteSize() >= LARGEST_MODEL:
        return model
    try:
        return shape_inference.infer_shapes(model, data_prop=_vectors_stay_small(model))
    except (shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
        return model  # what the file itself declares is all there is


def _vectors_stay_small(model: onnx.ModelProto) -> bool:
    if any(node.op_type == "Concat" for function in model.functions for node in function.node):
        return False  # how often a body runs on its own answers is not known
    return _longest(model.graph, {}, SHAPE) <= LARGEST_VECTOR


def _longest(graph: onnx.GraphProto, sizes: dict[str, int], longest: int) -> int:
    """The longest vector that following the graph could compute, from above."""
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


def _length(tensor: onnx.TensorProto) -> int:
    """Matrices and more are not computed with, only numbers and vectors."""
    if len(tensor.dims) > 1:
        return 0
    return min(element_count(tensor.dims, tensor.name), LARGEST_VECTOR + 1)
