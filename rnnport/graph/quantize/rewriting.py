"""A model with small weights, made from one with large ones; the given model is untouched."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import onnx
from onnx import helper, inliner

from rnnport.errors import CheckFailedError, RequestError
from rnnport.graph.fold import folded
from rnnport.graph.quantize.account import NodeAccount
from rnnport.graph.quantize.functions import (
    DOMAIN,
    FUNCTIONS,
    LEAST_IR_VERSION,
    VERSION,
    function_proto,
)
from rnnport.graph.quantize.others import quantize_others
from rnnport.graph.quantize.recurrent import quantize_recurrent
from rnnport.graph.quantize.small import Parts, forget, to_bfloat16, to_int8
from rnnport.graph.recurrent import recurrent_nodes
from rnnport.graph.rewrite import Names, drop_unused, forget_shapes
from rnnport.graph.scopes import Reading
from rnnport.graph.sound import standard_opset

PRECISIONS = ("int8", "bf16")


def with_small_weights(
    model: onnx.ModelProto, precision: str, kept: Iterable[str] = (), inline: bool = False
) -> tuple[onnx.ModelProto, list[NodeAccount]]:
    """Store the weights in int8 or bfloat16; inputs, outputs and states stay float32.

    Args:
        model: the whole model, weights included; it is not changed.
        precision: "int8" or "bf16".
        kept: labels of nodes that keep their weights.
        inline: write plain operators, for runtimes that know no functions.

    Returns:
        the new model, and the account of every node with weights.

    Raises:
        RequestError: there is no recurrent node, or ``kept`` names an unknown one.
        CheckFailedError: no recurrent node could be quantized.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
    reading = folded(Reading(copy))
    _require_known(reading, kept := tuple(kept))
    names = Names(reading)
    parts = Parts(names)
    if precision == "int8":
        accounts = quantize_recurrent(reading, parts, kept, lambda w: to_int8(w, (2,)), inline)
        accounts += quantize_others(reading, parts, names, kept, to_int8)
    else:
        accounts = quantize_recurrent(reading, parts, kept, to_bfloat16, inline)
        accounts += quantize_others(reading, parts, names, kept, lambda w, _: to_bfloat16(w))
    if not any(each.quantized for each in accounts):
        reasons = "; ".join(f"{each.node}: {each.reason}" for each in accounts)
        raise CheckFailedError(f"nothing was quantized, and nothing is written: {reasons}")
    _declare_functions(reading.model)
    _drop_unread(reading.model)
    forget_shapes(reading.model)
    return reading.model, accounts


def _require_known(reading: Reading, kept: tuple[str, ...]) -> None:
    layers = [layer.label for layer in recurrent_nodes(reading)]
    if not layers:
        raise RequestError("the model has no LSTM, GRU or RNN node: there is nothing to quantize")
    labels = [node.label for node in reading.nodes()]
    for name in kept:
        if name not in labels:
            near = get_close_matches(name, labels, 1)
            hint = f"; nearest is '{near[0]}'" if near else ""
            raise RequestError(
                f"--keep {name}: the model has no such node; its recurrent nodes are "
                f"{', '.join(layers)}{hint}"
            )


def _declare_functions(model: onnx.ModelProto) -> None:
    called = {
        node.op_type
        for scope in Reading(model).scopes
        for node in scope.body.node
        if node.domain == DOMAIN
    }
    if not called:
        return
    opset = standard_opset(model.opset_import)
    for function in FUNCTIONS.values():
        if function.name in called:
            model.functions.append(function_proto(function, opset))
    model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    model.ir_version = max(model.ir_version, LEAST_IR_VERSION)


def _drop_unread(model: onnx.ModelProto) -> None:
    """Take out the large weights that nothing reads any more, in whatever graph they are."""
    for scope in Reading(model).scopes:
        for name in [n for n in scope.initializers if n not in scope.output_names]:
            if not scope.takers.get(name):
                forget(scope, name)
    drop_unused(model)
