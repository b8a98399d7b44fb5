"""Recurrent nodes with small weights: calls of our functions, or plain nodes where none fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from onnx import helper

from rnnport.graph.operands import INPUTS
from rnnport.graph.quantize.account import NodeAccount
from rnnport.graph.quantize.functions import DOMAIN, FUNCTIONS, Function
from rnnport.graph.quantize.small import Parts, Small
from rnnport.graph.recurrent import USUAL_ACTIVATIONS, Recurrent, recurrent_nodes
from rnnport.graph.rewrite import set_input
from rnnport.graph.scopes import Reading

CARRIED = {"hidden_size", "direction", "linear_before_reset", "activations"}
DEFAULTS = {"layout": 0, "input_forget": 0, "clip": 0.0}  # an attribute that says nothing new
Shrink = Callable[[np.ndarray], Small]


def quantize_recurrent(
    reading: Reading, parts: Parts, kept: Iterable[str], shrink: Shrink, inline: bool
) -> list[NodeAccount]:
    """Give every recurrent node small weights, in the reading's own model.

    Args:
        reading: a model without local functions, its constants folded.
        parts: where the weights' parts are stored.
        kept: labels of nodes that stay as they are.
        shrink: makes the small form of W and of R, [directions, gates·hidden, columns].
        inline: write plain operators in place of calls of our functions.
    """
    kept, accounts, counted = set(kept), [], set[str]()
    for layer in recurrent_nodes(reading):
        reason = "kept, as asked" if layer.label in kept else _obstacle(layer)
        label, op = layer.label, layer.op
        new = _not_yet(layer, counted)  # a weight that several layers share is counted once
        before = sum(array.nbytes for array in new.values())
        if reason:
            dtype = layer.dtype or "unknown"
            accounts.append(NodeAccount(label, op, dtype, "", reason, before, before))
            continue
        small = {role: shrink(_array(layer, role)) for role in ("W", "R")}
        saved = sum(new[r].nbytes - each.nbytes() for r, each in small.items() if r in new)
        stored = str(small["W"].values.dtype)
        function = None if inline else _function_for(layer, small["W"])
        if function is None:
            for role, each in small.items():
                name = parts.restored(layer.node.scope, layer.input(role), each)
                set_input(layer.node, INPUTS[op].index(role), name)
        else:
            _call(layer, function, small, parts)
        form = "weights" if function is None else f"function {DOMAIN}.{function.name}"
        accounts.append(NodeAccount(label, op, stored, form, "", before, before - saved))
    return accounts


def _obstacle(layer: Recurrent) -> str:
    """Why a node cannot have small weights; empty where it can."""
    for role in ("W", "R"):
        array = layer.node.scope.array(layer.input(role))
        if array is None:
            return f"its weights {role} are not constant: they are computed or fed in every run"
        if array.dtype != np.float32:
            return f"its weights {role} are {array.dtype}, not float32"
        if not np.isfinite(array).all():
            return f"its weights {role} hold NaN or infinity"
    return ""


def _array(layer: Recurrent, role: str) -> np.ndarray:
    array = layer.node.scope.array(layer.input(role))
    assert array is not None, "_obstacle looked"
    return array


def _not_yet(layer: Recurrent, counted: set[str]) -> dict[str, np.ndarray]:
    """The layer's constant weights by role, without those that are counted; they are then."""
    found = {}
    for role in ("W", "R", "B", "P"):
        name, scope = layer.input(role), layer.node.scope
        array = scope.array(name)
        if array is not None and (key := f"{scope.home(name).path}{name}") not in counted:
            counted.add(key)
            found[role] = array
    return found


def _function_for(layer: Recurrent, small: Small) -> Function | None:
    """The function that computes what the node does; None where it asks for more."""
    names = (attribute.name for attribute in layer.node.proto.attribute)
    more = [name for name in names if name not in CARRIED and not _says_nothing(layer, name)]
    usual = USUAL_ACTIVATIONS[layer.op] * layer.directions
    plain = layer.activations == usual
    if layer.op == "RNN":
        plain = set(layer.activations) in ({"tanh"}, {"relu"})
    if not plain or layer.input("P") or more:
        return None
    kind = helper.np_dtype_to_tensor_dtype(small.values.dtype)
    return FUNCTIONS.get((layer.op, kind))


def _says_nothing(layer: Recurrent, name: str) -> bool:
    return layer.node.attribute(name) in ([], DEFAULTS.get(name))


def _call(layer: Recurrent, function: Function, small: dict[str, Small], parts: Parts) -> None:
    """Turn the node into a call, in its place."""
    names = {role: layer.input(role) for role in function.inputs}
    for role, each in small.items():
        values, scale = parts.store(layer.node.scope, layer.input(role), each)
        names |= {role: values, f"{role}_scale": scale}
    attributes = _attributes(layer, function)
    proto = layer.node.proto
    proto.op_type, proto.domain = function.name, DOMAIN
    inputs = [names[role] for role in function.inputs]
    while not inputs[-1]:
        inputs.pop()
    del proto.input[:], proto.attribute[:]
    proto.input.extend(inputs)
    proto.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    missing = len(function.outputs) - len(proto.output)
    proto.output.extend([""] * missing)  # the checker wants as many as the function has


def _attributes(layer: Recurrent, function: Function) -> dict[str, object]:
    """Every attribute spelled out: a call has no defaults."""
    R = _array(layer, "R")
    activations = [name.capitalize() for name in layer.activations]
    known: dict[str, object] = {
        "hidden_size": R.shape[2],
        "direction": layer.node.attribute("direction", b"forward"),
        "linear_before_reset": int(layer.linear_before_reset),
        "activations": activations,
        "activation": activations[0],
    }
    return {name: known[name] for name in (*function.attributes, *function.notes)}
