"""What an exported file must be, checked on the file as written and not on the intention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from rnnport.errors import CheckFailedError
from rnnport.porting.cleaning import RECURRENT, recurrent_nodes
from rnnport.spec import METADATA_KEY, ModelSpec

_WEIGHTS = (1, 2, 3)  # W, R, B among a recurrent node's inputs
_DEBUGGING = "pkg.torch"


def check_file(path: Path, spec: ModelSpec, opset: int, recurrent: Sequence[str]) -> None:
    """Hold a written file to everything that an export promises, short of parity.

    ``recurrent`` names the ONNX operator of each recurrent layer that the trace saw.

    Raises:
        CheckFailedError: the file breaks a promise; the message lists every one.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise CheckFailedError(f"the exported file is not valid ONNX: {error}") from error
    broken = [*_interface(model, spec), *_graph(model, recurrent), *_container(model, opset)]
    if broken:
        raise CheckFailedError("the exported file breaks its promises: " + "; ".join(broken))


def _interface(model: onnx.ModelProto, spec: ModelSpec) -> Iterator[str]:
    for kind, values, tensors in (
        ("inputs", model.graph.input, spec.inputs),
        ("outputs", model.graph.output, spec.outputs),
    ):
        names, wanted = [value.name for value in values], [tensor.name for tensor in tensors]
        if names != wanted:
            yield f"its {kind} are {names}, not {wanted}"
            continue
        for value, tensor in zip(values, tensors, strict=True):
            shape = tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
            if shape != tensor.shape:
                yield f"'{value.name}' has the axes {list(shape)}, not {list(tensor.shape)}"


def _graph(model: onnx.ModelProto, recurrent: Sequence[str]) -> Iterator[str]:
    found = Counter(n.op_type for n in model.graph.node if n.op_type in (*RECURRENT, "Scan"))
    wanted = Counter(recurrent)
    if found != wanted:
        yield f"it has the recurrent nodes {_counts(found)}, not {_counts(wanted)}"
    loops = [node.name for node in model.graph.node if node.op_type == "Loop"]
    if loops:
        yield f"a recurrence was written as a loop: {', '.join(loops)}"
    initializers = {tensor.name for tensor in model.graph.initializer}
    for node in recurrent_nodes(model):
        places = [i for i in _WEIGHTS if i < len(node.input) and node.input[i]]
        weights = {node.input[i] for i in places}
        if not weights <= initializers:
            yield f"weights of {node.name} are not initializers: {sorted(weights - initializers)}"
        if node.op_type == "GRU" and not _resets_after(node):
            yield f"{node.name} lacks linear_before_reset=1"


def _resets_after(node: onnx.NodeProto) -> bool:
    return any(each.name == "linear_before_reset" and each.i == 1 for each in node.attribute)


def _container(model: onnx.ModelProto, opset: int) -> Iterator[str]:
    opsets = {each.domain: each.version for each in model.opset_import}
    if opsets.get("", opsets.get("ai.onnx")) != opset or len(opsets) != 1:
        yield f"it has the opsets {opsets}, not {opset} alone"
    if model.functions:
        yield f"it holds local functions: {[function.name for function in model.functions]}"
    if METADATA_KEY not in {entry.key for entry in model.metadata_props}:
        yield "its spec is missing"
    if any(_DEBUGGING in entry.key for node in model.graph.node for entry in node.metadata_props):
        yield "it holds torch's debugging text"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counter.items())) or "none"
