"""A loop over a cell as one ONNX Scan: marked in the trace, cut out of the graph afterwards.

The trace runs the cell once, between two marks: what leaves ``Begin`` stands for one step's carry
and slices, what enters ``End`` is the step's result. Every node between them that depends on
``Begin`` becomes the Scan's body; weights, an attention's memory and whatever else a step reads
stay outside and are computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir
import torch
from torch import Tensor

from rnnport.errors import UnsupportedModelError
from rnnport.porting.recurrent import Loop

DOMAIN = "rnnport"
_BEGIN, _END = "Begin", "End"


def emit(loop: Loop, number: int, label: str) -> tuple[list[Tensor], list[Tensor]]:
    """Trace one step of a loop between its marks; the last carry, and the answers [time, …].

    Raises:
        UnsupportedModelError: a step changes the shape or the dtype of its state.
    """
    carries = len(loop.carry)
    given = [*loop.carry, *loop.xs]
    one = [*(t.shape for t in loop.carry), *(t.shape[1:] for t in loop.xs)]
    begun = _mark(_BEGIN, given, number, carries, one, given)
    after, ys = loop.step(begun[:carries], begun[carries:])
    for old, new in zip(loop.carry, after, strict=True):
        _check_kept(old, new, label)
    time = loop.xs[0].shape[0]
    shapes = [*(t.shape for t in loop.carry), *((time, *y.shape) for y in ys)]
    ended = _mark(_END, [*given, *after, *ys], number, carries, shapes, [*after, *ys])
    return ended[:carries], ended[carries:]


def _mark(
    name: str,
    inputs: Sequence[Tensor],
    number: int,
    carries: int,
    shapes: Sequence[Sequence[int | torch.SymInt]],
    like: Sequence[Tensor],
) -> list[Tensor]:
    return list(
        torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{name}",
            inputs,
            {"loop": number, "carries": carries},
            dtypes=[tensor.dtype for tensor in like],
            shapes=shapes,
            version=1,
        )
    )


def _check_kept(old: Tensor, new: Tensor, label: str) -> None:
    # by their text: comparing symbolic sizes would ask torch to fix them
    before, after = (f"{list(map(str, t.shape))} of {t.dtype}" for t in (old, new))
    if before != after:
        raise UnsupportedModelError(
            f"a step of {label} takes a state {list(old.shape)} of {old.dtype} and gives "
            f"{list(new.shape)} of {new.dtype}; expand it to the batch first, and keep its shape"
        )


def embed(model: ir.Model) -> list[str]:
    """Put a Scan in the place of every pair of marks, the innermost first.

    Returns:
        The symbolic sizes over which they run, in order.
    """
    times = []
    begins = {_number(node): node for node in model.graph if _is(node, _BEGIN)}
    for end in [node for node in model.graph if _is(node, _END)]:
        _embed(model.graph, begins[_number(end)], end)
        times.append(_time(end))
    model.opset_imports.pop(DOMAIN, None)
    model.graph.opset_imports.pop(DOMAIN, None)
    return list(dict.fromkeys(times))


def _is(node: ir.Node, name: str) -> bool:
    return node.domain == DOMAIN and node.op_type == name


def _number(node: ir.Node) -> int:
    return node.attributes["loop"].as_int()


def _time(end: ir.Node) -> str:
    shape = end.outputs[end.attributes["carries"].as_int()].shape
    assert shape is not None
    return str(shape[0])


def _embed(graph: ir.Graph, begin: ir.Node, end: ir.Node) -> None:
    given = len(begin.inputs)
    results = [value for value in end.inputs[given:] if value is not None]
    inside = _between(graph, begin, end, results)
    graph.remove(inside)
    body = _body(begin, inside, results, _number(end))
    scans = given - end.attributes["carries"].as_int()
    scan = ir.node(
        "Scan",
        list(end.inputs[:given]),
        {"body": body, "num_scan_inputs": scans},
        num_outputs=len(end.outputs),
        metadata_props=dict(end.metadata_props),
    )
    for new, old in zip(scan.outputs, end.outputs, strict=True):
        new.name, new.shape, new.type = old.name, old.shape, old.type
    graph.insert_before(end, scan)
    ir.convenience.replace_all_uses_with(end.outputs, scan.outputs, replace_graph_outputs=True)
    graph.remove([end])
    graph.remove([begin])


def _between(
    graph: ir.Graph, begin: ir.Node, end: ir.Node, results: Sequence[ir.Value]
) -> list[ir.Node]:
    """The nodes that a step runs, in order: they depend on the beginning, and the end on them."""
    dependent, after = set(begin.outputs), []
    for node in graph:
        if node is not end and dependent.intersection(_reads(node)):
            after.append(node)
            dependent.update(node.outputs)
    if dependent.intersection(graph.outputs):
        raise UnsupportedModelError(
            "a value of a single step leaves its loop, through an attribute perhaps; let the cell "
            "return it as part of y_t"
        )
    needed, inside = set(results), []
    for node in reversed(after):
        if needed.intersection(node.outputs):
            inside.append(node)
            needed.update(_reads(node))
    unread = [node for node in reversed(after) if node not in set(inside)]
    graph.remove(unread)
    return inside[::-1]


def _reads(node: ir.Node) -> Iterable[ir.Value]:
    """Every value that a node or the graphs inside it read."""
    found = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                found += _reads(inner)
    return found


def _body(
    begin: ir.Node, inside: Sequence[ir.Node], results: Sequence[ir.Value], number: int
) -> ir.Graph:
    inputs = [
        ir.Value(name=f"step_{number}.{i}", shape=value.shape, type=value.type)
        for i, value in enumerate(begin.outputs)
    ]
    body = ir.Graph(inputs, [], nodes=inside, name=f"step_{number}")
    ir.convenience.replace_all_uses_with(begin.outputs, inputs)
    own = {value for node in inside for value in node.outputs}
    for value in results:
        source = dict(zip(begin.outputs, inputs, strict=True)).get(value, value)
        if value in own and value not in body.outputs:
            body.outputs.append(value)
            continue
        copy = ir.node("Identity", [source])  # a body's output is its own value
        copy.outputs[0].shape, copy.outputs[0].type = source.shape, source.type
        body.append(copy)
        body.outputs.append(copy.outputs[0])
    return body
