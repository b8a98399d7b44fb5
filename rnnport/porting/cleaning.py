"""Making torch's ONNX graph ours: folded weights, named axes, clean names, no debugging text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
from onnxscript.optimizer import optimize

from rnnport.porting.scan import embed
from rnnport.spec import Dim

RECURRENT = ("LSTM", "GRU", "RNN")
_OPERANDS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_NO_LIMIT = 1 << 40
_WRAPPER = "module"  # the attribute under which Traced holds the user's module


def clean(model: ir.Model, shapes: Sequence[Sequence[Dim]]) -> ir.Model:
    """Fold, name and strip the graph in place; ``shapes`` gives each input's axes by name."""
    # without limits the reordered weights become initializers, however large they are
    optimize(model, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT)
    times = embed(model)
    _name_axes(model, shapes, [time for time in times if re.fullmatch(r"u\d+", time)])
    names = _node_names(model)
    _strip(model)
    _rename(model, names)
    return model


def _name_axes(model: ir.Model, shapes: Sequence[Sequence[Dim]], counts: Sequence[str]) -> None:
    """Give torch's symbols (``s77``) the names that were asked for, in every value's shape."""
    # a number of steps that an input gives; what else torch cannot know is the longest length
    names = {count: f"steps_{i}" if i else "steps" for i, count in enumerate(counts)}
    for value, shape in zip(model.graph.inputs, shapes, strict=True):
        assert value.shape is not None
        for found, wanted in zip(value.shape, shape, strict=True):
            if isinstance(found, ir.SymbolicDim) and isinstance(wanted, str):
                names[str(found.value)] = wanted
    for value in _values(model):
        if value.shape is not None:
            value.shape = ir.Shape([_named_axis(axis, names) for axis in value.shape])


def _named_axis(axis: int | ir.SymbolicDim, names: Mapping[str, str]) -> int | str | None:
    if isinstance(axis, int):
        return axis
    if axis.value is None:
        return None
    named = re.sub(r"\w+", lambda symbol: names.get(symbol[0], symbol[0]), str(axis.value))
    return "longest" if re.fullmatch(r"u\d+", named) else named


def _values(model: ir.Model) -> list[ir.Value]:
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for graph in model.graph.subgraphs():
        values.extend(graph.inputs)
    for node in model.graph.all_nodes():
        values += node.outputs
    return values


def _node_names(model: ir.Model) -> dict[ir.Node, str]:
    """``encoder.rnn/LSTM``: the path of the module that made a node, then its operator."""
    counted: Counter[str] = Counter()
    names = {}
    for node in model.graph.all_nodes():
        scopes = re.findall(r"'([^']*)'", node.metadata_props.get("pkg.torch.onnx.name_scopes", ""))
        path = _without_wrapper(scopes[-2]) if len(scopes) > 1 else ""
        name = f"{path}/{node.op_type}" if path else node.op_type
        names[node] = f"{name}_{counted[name]}" if counted[name] else name
        counted[name] += 1
    return names


def _without_wrapper(name: str) -> str:
    return "" if name == _WRAPPER else name.removeprefix(f"{_WRAPPER}.")


def _strip(model: ir.Model) -> None:
    """Drop what torch noted for debugging: it holds source lines and this machine's paths."""
    model.doc_string = None
    model.graph.doc_string = None
    owners: list[Any] = [model, model.graph, *_values(model), *model.graph.all_nodes()]
    for owner in owners:
        owner.metadata_props.clear()
        owner.meta.clear()
        owner.doc_string = None
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            value.const_value.doc_string = None
    model.graph.name = "main"


def _rename(model: ir.Model, names: Mapping[ir.Node, str]) -> None:
    fixed = {id(value) for value in (*model.graph.inputs, *model.graph.outputs)}
    taken = {str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)}
    initializers = dict(model.graph.initializers)
    model.graph.initializers.clear()
    for value in initializers.values():
        if id(value) not in fixed:
            value.name = _free(_initializer_name(value, names), taken)
        model.graph.initializers[str(value.name)] = value
    for node, name in names.items():
        node.name = name
        for i, value in enumerate(node.outputs):
            if id(value) not in fixed and value.name:
                value.name = _free(name if len(node.outputs) == 1 else f"{name}.{i}", taken)


def _initializer_name(value: ir.Value, names: Mapping[ir.Node, str]) -> str:
    """A parameter's own name, else the place where it is used first: ``rnn/LSTM.W``."""
    name = str(value.name)
    if name.startswith(f"{_WRAPPER}."):
        return _without_wrapper(name)
    uses = sorted(((names[node], i) for node, i in value.uses() if node in names))
    if not uses:
        return name
    consumer, place = uses[0]
    if consumer.rpartition("/")[2].partition("_")[0] in RECURRENT:
        return f"{consumer}.{_OPERANDS[place]}"
    return f"{consumer}.constant"


def _free(name: str, taken: set[str]) -> str:
    candidate, n = name, 1
    while candidate in taken:
        candidate, n = f"{name}_{n}", n + 1
    taken.add(candidate)
    return candidate


def recurrent_nodes(model: Any) -> list[Any]:
    """The recurrent nodes of an ONNX ModelProto's main graph."""
    return [node for node in model.graph.node if node.op_type in RECURRENT]
