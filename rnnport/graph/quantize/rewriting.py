"""A model with small weights, made from one with large ones; the given model is untouched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import numpy as np
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
from rnnport.graph.quantize.half import compute_in_half
from rnnport.graph.quantize.others import quantize_others
from rnnport.graph.quantize.recurrent import quantize_recurrent
from rnnport.graph.quantize.small import Parts, forget, to_bfloat16, to_int8
from rnnport.graph.quantize.static import quantize_statically
from rnnport.graph.recurrent import recurrent_nodes
from rnnport.graph.rewrite import Names, drop_unused, forget_shapes
from rnnport.graph.scopes import Reading
from rnnport.graph.sound import standard_opset

PRECISIONS = ("int8", "fp16", "bf16")
LOOPS = ("Scan", "Loop")
CONSTANTS_IR_VERSION = 4  # the first with initializers that are no graph inputs
Feeds = Mapping[str, np.ndarray]


def prepared(model: onnx.ModelProto) -> Reading:
    """A copy of a model, its functions inlined and its constants folded, as quantizing takes it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
    return folded(Reading(copy))


def recurrent_layers(reading: Reading) -> dict[str, frozenset[str]]:
    """Each recurrent layer, and the labels of the nodes in it.

    An LSTM, GRU or RNN node is a layer; so is a Scan or Loop, with the nodes of its body.
    """
    found = {layer.label: frozenset({layer.label}) for layer in recurrent_nodes(reading)}
    for loop in [node for node in reading.nodes() if node.op in LOOPS]:
        inner = [n.label for n in reading.nodes() if n.label.startswith(f"{loop.label}.body/")]
        if not found.keys() & set(inner):
            found[loop.label] = frozenset(inner)
    return found


def with_small_weights(
    model: onnx.ModelProto,
    precision: str,
    kept: Iterable[str] = (),
    inline: bool = False,
    feeds: Sequence[Feeds] = (),
) -> tuple[onnx.ModelProto, list[NodeAccount]]:
    """Make the weights small; inputs, outputs and states stay float32.

    int8 and bf16 are ways to store: a stock runtime computes in float32. fp16 is a way to compute.

    Args:
        model: the whole model, weights included; it is not changed.
        precision: "int8", "fp16" or "bf16".
        kept: labels of nodes that keep their weights; that of a Scan or Loop means its body.
        inline: write plain operators, for runtimes that know no functions.
        feeds: calls of the model, every graph input by name, that give products and convolutions
            fixed ranges to compute in int8; without them their weights alone are int8.

    Returns:
        the new model, and the account of every node with weights.

    Raises:
        RequestError: there is nothing recurrent, or ``kept`` names an unknown node.
        CheckFailedError: nothing could be quantized.
    """
    reading = prepared(model)
    kept = _known(reading, kept)
    calibrated: list[NodeAccount] = []
    if feeds:
        static, calibrated = quantize_statically(reading.model, feeds, kept)
        reading = Reading(static)
    names = Names(reading)
    parts = Parts(names)
    if precision == "int8":
        accounts = quantize_recurrent(reading, parts, kept, lambda w: to_int8(w, (2,)), inline)
        accounts += [*calibrated, *quantize_others(reading, parts, kept, to_int8)]
    elif precision == "fp16":
        accounts = compute_in_half(reading, parts, names, kept)
    else:
        accounts = quantize_recurrent(reading, parts, kept, to_bfloat16, inline)
        accounts += quantize_others(reading, parts, kept, lambda w, _: to_bfloat16(w))
    accounts += _without_weights(reading, accounts)
    if not any(each.quantized for each in accounts):
        reasons = "; ".join(f"{each.node}: {each.reason}" for each in accounts)
        raise CheckFailedError(
            f"nothing was quantized, and nothing is written: {reasons or 'no node has weights'}"
        )
    reading.model.ir_version = max(reading.model.ir_version, CONSTANTS_IR_VERSION)
    _declare_functions(reading.model)
    _drop_unread(reading.model)
    forget_shapes(reading.model)
    return reading.model, accounts


def _known(reading: Reading, kept: Iterable[str]) -> set[str]:
    """The labels that are kept, those of a loop's body in place of the loop's own."""
    layers = recurrent_layers(reading)
    if not layers:
        raise RequestError(
            "the model has no LSTM, GRU, RNN, Scan or Loop node: there is nothing recurrent in it"
        )
    labels = {node.label for node in reading.nodes()}
    known = set[str]()
    for name in kept:
        if name not in labels:
            near = get_close_matches(name.lower(), folded_case := {n.lower(): n for n in labels}, 1)
            hint = f"; nearest is '{folded_case[near[0]]}'" if near else ""
            raise RequestError(
                f"--keep {name}: the model has no such node; its recurrent nodes are "
                f"{', '.join(layers)}{hint}"
            )
        known |= layers.get(name, {name})
    return known


def _without_weights(reading: Reading, accounts: Sequence[NodeAccount]) -> list[NodeAccount]:
    """The loops in which no node has weights of its own: tf2onnx carries a cell's round."""
    told = {account.node for account in accounts}
    loops = {node.label: node.op for node in reading.nodes() if node.op in LOOPS}
    reason = (
        "no node in its body has constant weights: they are carried round, or there are none; "
        "'rnnport check --fix' makes one node of a loop that is an LSTM, GRU or RNN"
    )
    return [
        NodeAccount(label, loops[label], "unknown", "", reason, 0, 0)
        for label, nodes in recurrent_layers(reading).items()
        if label in loops and not told & nodes
    ]


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
        made = (name for node in scope.nodes if node.op == "Constant" for name in node.proto.output)
        for name in [*scope.initializers, *made]:
            if not scope.takers.get(name) and name not in scope.output_names:
                forget(scope, name)
    drop_unused(model)
