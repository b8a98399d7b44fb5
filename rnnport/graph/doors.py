"""How the inputs and outputs of inner graphs and function bodies meet the values outside."""

from __future__ import annotations

from collections.abc import Iterator

from rnnport.graph.scopes import Node, Reading, Scope

# What is inside, what is outside, and the axis that the outside has more: what is scanned along.
Door = tuple[tuple[Scope, str], tuple[Scope, str], int | None]


def carried_numbers(node: Node, body: Scope) -> list[str]:
    """What a Loop or Scan carries from step to step and changes, numbers alone."""
    names = body.input_names
    if node.op == "Scan":
        names = names[: len(names) - int(node.attribute("num_scan_inputs", 0))]
    else:
        names = [name for name in names[2:] if body.unchanged(name) is None]
    return [name for name in names if body.dtype(name).startswith(("float", "bfloat"))]


def doors(reading: Reading, scope: Scope) -> Iterator[Door]:
    """How a body's inputs and outputs meet the values outside."""
    for call in reading.calls(scope):
        for inside, outside in zip(scope.input_names, call.proto.input, strict=False):
            yield from _door(scope, inside, call, outside, None)
        for inside, outside in zip(scope.output_names, call.proto.output, strict=False):
            yield from _door(scope, inside, call, outside, None)
    node = scope.owner
    if node is None:
        return
    inputs, outputs = scope.input_names, scope.output_names
    if node.op == "If":
        for inside, outside in zip(outputs, node.proto.output, strict=False):
            yield from _door(scope, inside, node, outside, None)
    elif node.op == "Loop":
        carried = len(inputs) - 2
        for index in range(carried):
            yield from _door(scope, inputs[index + 2], node, node.input(index + 2), None)
        for index, inside in enumerate(outputs[1:]):
            yield from _door(scope, inside, node, node.output(index), _at(node, index, carried))
    elif node.op == "Scan":
        carried = len(inputs) - int(node.attribute("num_scan_inputs", 0))
        for index, inside in enumerate(inputs):
            inserted = _at(node, index, carried, "scan_input_axes")
            yield from _door(scope, inside, node, node.input(index), inserted)
        for index, inside in enumerate(outputs):
            inserted = _at(node, index, carried, "scan_output_axes")
            yield from _door(scope, inside, node, node.output(index), inserted)


def _at(node: Node, index: int, carried: int, attribute: str = "") -> int | None:
    """The axis that a scanned operand has outside only; ``None`` for a carried one."""
    if index < carried:
        return None
    axes = node.attribute(attribute) if attribute else None
    return max(0, int(axes[index - carried])) if axes and index - carried < len(axes) else 0


def _door(scope: Scope, inside: str, node: Node, outside: str, axis: int | None) -> Iterator[Door]:
    if inside and outside:
        yield (scope, inside), (node.scope, outside), axis
