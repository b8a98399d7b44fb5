"""RNN101: a Reshape or Expand whose target holds the batch or time of the exporter's example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from rnnport.graph.axes import BATCH, TIME, Axes
from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.rewrite import Names, add_constant, forget_shapes, insert_before, set_input
from rnnport.graph.scopes import Node, Reading

RESHAPING = ("Reshape", "Expand")
REST = ""  # no input: what is left, a Reshape's own -1
MERGED = "batch × time"  # one place that holds the product of both


@dataclass(frozen=True)
class Frozen:
    """A node, its constant target shape, and the places in it that should follow the input."""

    node: Node
    target: tuple[int, ...]
    places: dict[int, str]  # place → "batch" or "time"


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Constant targets with a number where the batch or the time stands."""
    axes = Axes(reading)
    for frozen in _frozen(reading, axes):
        what = " and ".join(f"{m} {frozen.target[p]}" for p, m in frozen.places.items())
        yield Fault(
            frozen.node.label,
            f"this {frozen.node.op} always makes {list(frozen.target)}: {what} of the exporter's "
            "example is frozen in it, so any other size fails or is mixed up",
            fixable=_live_sizes(reading, axes, frozen) is not None,
        )


def repair(reading: Reading) -> onnx.ModelProto:
    """Take the sizes from a graph input when the model runs."""
    axes, names = Axes(reading), Names(reading)
    for frozen in list(_frozen(reading, axes)):
        sizes = _live_sizes(reading, axes, frozen)
        if sizes is not None:
            _follow_input(frozen, sizes, names)
    forget_shapes(reading.model)
    return reading.model


def _frozen(reading: Reading, axes: Axes) -> Iterator[Frozen]:
    for node in reading.nodes():
        target = node.scope.array(node.input(1), largest=64) if node.op in RESHAPING else None
        if target is None or target.ndim != 1:
            continue
        sizes = tuple(int(size) for size in target)
        places = {
            place: meaning
            for place, size in enumerate(sizes)
            if size > 0 and (meaning := axes.of(node.scope, node.output(0), place))
        }
        if node.op == "Expand":  # a 1 broadcasts to whatever the input's size is
            places = {place: meaning for place, meaning in places.items() if sizes[place] > 1}
        else:
            places |= _aligned(node, axes, sizes)
        if places:
            yield Frozen(node, sizes, places)


def _aligned(node: Node, axes: Axes, sizes: tuple[int, ...]) -> dict[int, str]:
    """Places of a Reshape's target that can only come from open axes of its input.

    [time, batch, 1, 4] → (5, 2, 4) holds both; [batch, time, 8] → (10, 8) holds their product.
    """
    source = node.scope.shape(node.input(0))
    if source is None:
        return {}
    meanings = [axes.of(node.scope, node.input(0), axis) for axis in range(len(source))]
    front, back = 0, 0
    while front < min(len(source), len(sizes)) and sizes[front] == 0:
        front += 1
    while back < min(len(source), len(sizes)) - front and source[-1 - back] == sizes[-1 - back]:
        if meanings[-1 - back]:
            break
        back += 1
    left = [axis for axis in range(front, len(source) - back) if source[axis] != 1]
    places = list(range(front, len(sizes) - back))
    if not left or any(sizes[place] <= 0 for place in places):
        return {}
    if not all(meanings[axis] for axis in left):
        return {}
    if len(left) == len(places):
        return {place: meanings[axis] for place, axis in zip(places, left, strict=True)}
    return {places[0]: MERGED} if len(places) == 1 else {}


def _live_sizes(reading: Reading, axes: Axes, frozen: Frozen) -> dict[int, tuple[str, int]] | None:
    """For each frozen place the graph input, and its axis, that has that size when it runs."""
    if frozen.node.scope is not reading.main:
        return None  # an inner graph may see the batch of another call
    found = {}
    for place, meaning in frozen.places.items():
        if meaning == MERGED:
            found[place] = (REST, 0)
            continue
        source = _input_with(reading, axes, meaning, frozen.target[place])
        if source is None:
            return None
        found[place] = source
    return found


def _input_with(reading: Reading, axes: Axes, meaning: str, size: int) -> tuple[str, int] | None:
    for name in reading.main.input_names:
        axis = axes.find(reading.main, name, meaning)
        if axis is not None:
            declared = (reading.main.shape(name) or ())[axis]
            if not isinstance(declared, int) or declared == size:
                return name, axis
    return None


def _follow_input(frozen: Frozen, sizes: dict[int, tuple[str, int]], names: Names) -> None:
    scope, base = frozen.node.scope, frozen.node.output(0)
    new: list[onnx.NodeProto] = []
    parts: list[str] = []
    for place, size in enumerate(frozen.target):
        source, axis = sizes.get(place, (REST, 0))
        if source == REST:
            value = np.asarray([-1 if place in sizes else size], np.int64)
            parts.append(add_constant(scope, names.fresh(f"{base}.size{place}"), value))
            continue
        shape, part = names.fresh(f"{base}.shape{place}"), names.fresh(f"{base}.live{place}")
        index = add_constant(scope, names.fresh(f"{base}.axis{place}"), np.asarray([axis]))
        new.append(helper.make_node("Shape", [source], [shape]))
        new.append(helper.make_node("Gather", [shape, index], [part], axis=0))
        parts.append(part)
    target = names.fresh(f"{base}.target")
    new.append(helper.make_node("Concat", parts, [target], axis=0))
    insert_before(frozen.node, new)
    set_input(frozen.node, 1, target)


RULE = Rule(
    id="RNN101",
    title=f"{BATCH.capitalize()} or {TIME} frozen in a Reshape or Expand",
    severity=Severity.ERROR,
    why=(
        "Exporters write the example's batch and time into constant shapes, although the inputs "
        "are declared dynamic. The file then fails at any other size, or mixes rows up silently "
        "where the number of elements happens to fit."
    ),
    remedy=(
        "--fix computes the sizes from the graph's input when it runs; or export again with "
        "`rnnport export`, which keeps both axes symbolic."
    ),
    find=find,
    repair=repair,
    effect=Effect.EXACT,
)
