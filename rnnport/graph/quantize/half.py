"""Float16 for GPUs: nodes with weights compute in it, between casts from and to float32."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import TensorProto, helper

from rnnport.graph.quantize.account import NodeAccount
from rnnport.graph.quantize.others import OPERANDS
from rnnport.graph.quantize.small import Parts, Small
from rnnport.graph.recurrent import INPUTS
from rnnport.graph.rewrite import Names, insert_after, insert_before, set_input, set_output
from rnnport.graph.scopes import Node, Reading

LARGEST = float(np.finfo(np.float16).max)
WEIGHTS = {**dict.fromkeys(INPUTS, (1, 2)), **OPERANDS}  # where each operator takes its weights
WHOLE_NUMBERS = {op: roles.index("sequence_lens") for op, roles in INPUTS.items()} | {"Gather": 1}


def compute_in_half(
    reading: Reading, parts: Parts, names: Names, kept: Iterable[str]
) -> list[NodeAccount]:
    """Let every node with constant weights compute in float16, in the reading's own model.

    What lies between such nodes stays float32: sums, normalisations and softmax keep their range.

    Args:
        reading: a model without local functions, its constants folded.
        parts: where the float16 weights are stored.
        names: free names of values.
        kept: labels of nodes that stay as they are.
    """
    kept, accounts, counted = set(kept), [], set[str]()
    for node in [node for node in reading.nodes() if node.op in WEIGHTS]:
        arrays = _arrays(node)
        if not arrays and node.op not in INPUTS:
            continue  # a product of two computed values: no weights to speak of
        before = sum(a.nbytes for name, a in arrays.items() if name not in counted)
        reason = "kept, as asked" if node.label in kept else _obstacle(node, arrays)
        if reason:
            dtype = next((str(array.dtype) for array in arrays.values()), "unknown")
            accounts.append(NodeAccount(node.label, node.op, dtype, "", reason, before, before))
            continue
        counted.update(arrays)
        account = NodeAccount(
            node.label, node.op, "float16", "float16 arithmetic", "", before, before // 2
        )
        accounts.append(account)
        _halve(node, arrays, parts, names)
    return accounts


def _arrays(node: Node) -> dict[str, np.ndarray]:
    """The node's constant inputs in floating point, by name."""
    found = {}
    for index, name in enumerate(node.proto.input):
        array = node.scope.array(name) if index != WHOLE_NUMBERS.get(node.op) else None
        if array is not None and array.dtype.kind == "f":
            found[name] = array
    return found


def _obstacle(node: Node, arrays: dict[str, np.ndarray]) -> str:
    """Why a node cannot compute in float16; empty where it can."""
    if node.op in INPUTS:
        computed = [role for role in (1, 2) if node.input(role) not in arrays]
        if computed:
            role = INPUTS[node.op][computed[0]]
            return f"its weights {role} are not constant: they are computed or fed in every run"
    for array in arrays.values():
        if array.dtype != np.float32:
            return f"its weights are {array.dtype}, not float32"
        if not np.abs(array).max(initial=0.0) <= LARGEST:
            return f"its weights reach past {LARGEST:g}, where float16 ends, or hold NaN"
    return ""


def _halve(node: Node, arrays: dict[str, np.ndarray], parts: Parts, names: Names) -> None:
    for index, name in enumerate(list(node.proto.input)):
        if not name or index == WHOLE_NUMBERS.get(node.op):
            continue
        if name in arrays:
            small = Small(arrays[name].astype(np.float16), None)
            set_input(node, index, parts.store(node.scope, name, small)[0])
        else:
            half = names.fresh(f"{name}.float16")
            cast = helper.make_node("Cast", [name], [half], to=TensorProto.FLOAT16)
            insert_before(node, [cast])
            set_input(node, index, half)
    for index, name in enumerate(list(node.proto.output)):
        if name:
            half = names.fresh(f"{name}.float16")
            set_output(node, index, half)
            cast = helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT)
            insert_after(node, [cast])
