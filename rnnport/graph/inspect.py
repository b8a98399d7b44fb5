"""What a model file promises and holds: its interface, its recurrent nodes, its sizes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rnnport.graph.inference import guess
from rnnport.graph.quantize.functions import DOMAIN
from rnnport.graph.reading import declared_bytes, external_files, initializers, open_reading
from rnnport.graph.recurrent import Recurrent, recurrent_nodes
from rnnport.graph.scopes import Reading, dtype_name
from rnnport.graph.states import Pair
from rnnport.graph.stored import stored_parts
from rnnport.runtime.metadata import read_spec
from rnnport.spec import Dim, ModelSpec

WEIGHTS = ("W", "W_scale", "R", "R_scale", "B", "P")


@dataclass(frozen=True)
class RecurrentFacts:
    """One recurrent node; sizes are None where the graph does not tell them."""

    name: str
    op: str
    direction: str
    layer: int  # 1 for a node that no other recurrent node feeds
    input_size: int | None
    hidden_size: int | None
    weight_bytes: int  # as they are stored
    stored: str  # NumPy's name of the type that its weights are kept in, empty where not known
    function: str  # the function that the node calls, such as "rnnport.LSTMInt8"; empty for none
    constant_weights: bool  # every weight is a constant, or made from small ones at load
    linear_before_reset: bool | None  # None: not a GRU
    activations: tuple[str, ...]
    lengths: bool
    states: bool


@dataclass(frozen=True)
class Inspection:
    """A model file, read but not run."""

    path: str
    file_bytes: int
    external: dict[str, int]  # files with weights beside the model → bytes
    weight_bytes: int
    bytes_by_type: dict[str, int]  # of the weights, the largest share first
    ir_version: int
    opsets: dict[str, int]
    producer: str
    nodes: int
    functions: tuple[str, ...]
    inferred: bool  # the spec was guessed from the graph: the file carries none
    spec: ModelSpec
    pairs: tuple[Pair, ...]  # of an inferred spec: inputs and outputs that look like a state
    unclear: tuple[str, ...]  # state inputs without a known successor
    recurrent: tuple[RecurrentFacts, ...]


def inspect_file(path: str | os.PathLike[str]) -> Inspection:
    """Read what a file promises; where it carries no metadata, infer what can be inferred.

    Raises:
        RequestError: there is no file of that name.
        ModelFileError: the file is not an ONNX model, or makes no sense.
        SpecVersionError: the file was written for a newer rnnport.
    """
    spec = read_spec(path)
    reading = open_reading(path)
    model, guessed = reading.model, guess(reading)
    by_type = _by_type(reading)
    return Inspection(
        path=os.fspath(path),
        file_bytes=Path(path).stat().st_size,
        external=external_files(path, reading),
        weight_bytes=sum(by_type.values()),
        bytes_by_type=by_type,
        ir_version=model.ir_version,
        opsets={each.domain or "ai.onnx": each.version for each in model.opset_import},
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        nodes=sum(1 for _ in reading.nodes()),
        functions=tuple(f"{each.domain}.{each.name}" for each in model.functions),
        inferred=spec is None,
        spec=guessed.spec if spec is None else spec,
        pairs=guessed.pairs if spec is None else (),
        unclear=(*guessed.unclear, *guessed.lost) if spec is None else (),
        recurrent=recurrent_facts(reading),
    )


def _by_type(reading: Reading) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for tensor in initializers(reading):
        kind = dtype_name(tensor.data_type) or "unknown"
        sizes[kind] = sizes.get(kind, 0) + declared_bytes(tensor)
    return dict(sorted(sizes.items(), key=lambda entry: -entry[1]))


def recurrent_facts(reading: Reading) -> tuple[RecurrentFacts, ...]:
    """Every recurrent node of the file, in the file's order."""
    nodes = recurrent_nodes(reading)
    layers = _layers(nodes)
    return tuple(_facts(node, layer) for node, layer in zip(nodes, layers, strict=True))


def _facts(node: Recurrent, layer: int) -> RecurrentFacts:
    scope = node.node.scope
    parts = [stored_parts(scope, node.input(role)) for role in WEIGHTS if node.input(role)]
    names = dict.fromkeys(name for each in parts for name in each or ())
    tensors = [scope.tensor(name) for name in names]
    direction = node.node.attribute("direction", b"forward")
    return RecurrentFacts(
        name=node.label,
        op=node.op,
        direction=direction.decode(errors="replace"),
        layer=layer,
        input_size=_size(scope.shape(node.input("W")), 2),
        hidden_size=_size(scope.shape(node.input("R")), 2),
        weight_bytes=sum(declared_bytes(tensor) for tensor in tensors if tensor is not None),
        stored=node.stored,
        function="" if node.function is None else f"{DOMAIN}.{node.function.name}",
        constant_weights=all(each is not None for each in parts),
        linear_before_reset=node.linear_before_reset if node.op == "GRU" else None,
        activations=node.activations,
        lengths=bool(node.input("sequence_lens")),
        states=bool(node.input("initial_h")),
    )


def _size(shape: tuple[Dim, ...] | None, axis: int) -> int | None:
    size = shape[axis] if shape is not None and len(shape) > axis else None
    return size if isinstance(size, int) else None


def _layers(nodes: list[Recurrent]) -> list[int]:
    """How many recurrent nodes deep each node stands in its own graph, by its sequence input."""
    depths: dict[tuple[int, str], int] = {}
    layers = []
    for node in nodes:  # a file lists its nodes so that makers come first
        depth = 1 + _deepest(node, depths)
        depths |= {(id(node.node.scope), name): depth for name in node.node.proto.output if name}
        layers.append(depth)
    return layers


def _deepest(node: Recurrent, depths: dict[tuple[int, str], int]) -> int:
    scope, deepest = node.node.scope, 0
    waiting, seen = [node.input("X")], {""}
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        if (id(scope), value) in depths:
            deepest = max(deepest, depths[(id(scope), value)])
        elif (maker := scope.makers.get(value)) is not None:
            waiting += maker.proto.input
    return deepest
