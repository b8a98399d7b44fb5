"""The table of rnnport's own ONNX functions: names, inputs, layouts, version and bodies.

A quantized file calls them; each has a body of standard operators in the same file, so that any
ONNX Runtime runs it, and a process with rnnport's kernels runs those instead. The body dequantizes
with Cast and Mul, which a stock ONNX Runtime folds when it loads the file: one plain LSTM, GRU or
RNN node is left. (DequantizeLinear would be computed again in every call.)

All layouts and the order of gates are those of the ONNX operators LSTM, GRU and RNN with layout 0:
X [time, batch, input], W [directions, gates·hidden, input], R [directions, gates·hidden, hidden],
B [directions, 2·gates·hidden], sequence_lens [batch], initial_h and initial_c [directions, batch,
hidden]. W_scale and R_scale [directions, gates·hidden, 1] hold one scale for each row of W and R:
weight = int8 · scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from rnnport.graph.operands import OUTPUTS
from rnnport.spec import FUNCTION_DOMAIN

DOMAIN = FUNCTION_DOMAIN
VERSION = 1
LEAST_IR_VERSION = 8  # the first with functions in a model file
FLOAT32, INT32 = TensorProto.FLOAT, TensorProto.INT32

_SCALED = ("X", "W", "W_scale", "R", "R_scale", "B", "sequence_lens", "initial_h")
_STORED = ("X", "W", "R", "B", "sequence_lens", "initial_h")


@dataclass(frozen=True)
class Function:
    """One function: what it stores its weights as, and the standard operator that it stands for.

    ``attributes`` are passed on to that operator. ``activation`` of an RNN says in one string what
    ``activations`` says in a list, for kernels, which can read strings but not lists of them.
    """

    name: str
    op: str
    weights: int  # ONNX's number of the type of W and R
    inputs: tuple[str, ...]
    attributes: tuple[str, ...]
    notes: tuple[str, ...] = ()  # attributes for kernels alone

    @property
    def outputs(self) -> tuple[str, ...]:
        return OUTPUTS[self.op]

    @property
    def scaled(self) -> bool:
        return "W_scale" in self.inputs


def _pair(
    op: str, attributes: tuple[str, ...], notes: tuple[str, ...] = ()
) -> tuple[Function, ...]:
    cell = ("initial_c",) if op == "LSTM" else ()
    given = ("hidden_size", "direction", *attributes)
    return (
        Function(f"{op}Int8", op, TensorProto.INT8, (*_SCALED, *cell), given, notes),
        Function(f"{op}BFloat16", op, TensorProto.BFLOAT16, (*_STORED, *cell), given, notes),
    )


FUNCTIONS = {
    (function.op, function.weights): function
    for function in (
        *_pair("LSTM", ()),
        *_pair("GRU", ("linear_before_reset",)),
        *_pair("RNN", ("activations",), ("activation",)),
    )
}

CALLED = {(DOMAIN, function.name): function for function in FUNCTIONS.values()}  # as nodes call it


def function_proto(function: Function, opset: int) -> onnx.FunctionProto:
    """The function with its body of standard operators of the version ``opset``."""
    body = [node for role in ("W", "R") for node in _as_float32(function, role)]
    replaced = {"W": "W_float32", "R": "R_float32"}
    standard = ["X", "W", "R", "B", "sequence_lens", "initial_h"]
    standard += ["initial_c"] if function.op == "LSTM" else []
    layer = helper.make_node(  # a runtime that inlines the body names the node after this
        function.op,
        [replaced.get(role, role) for role in standard],
        list(function.outputs),
        name=function.op.lower(),
    )
    for name in function.attributes:
        layer.attribute.append(_passed_on(name))
    return helper.make_function(
        DOMAIN,
        function.name,
        list(function.inputs),
        list(function.outputs),
        [*body, layer],
        [helper.make_opsetid("", opset)],
        [*function.attributes, *function.notes],
    )


def _as_float32(function: Function, role: str) -> list[onnx.NodeProto]:
    """W or R in float32: cast, and where it has scales times them."""
    result = f"{role}_float32"
    if not function.scaled:
        return [helper.make_node("Cast", [role], [result], to=FLOAT32)]
    return [
        helper.make_node("Cast", [role], [f"{role}_cast"], to=FLOAT32),
        helper.make_node("Mul", [f"{role}_cast", f"{role}_scale"], [result]),
    ]


def _passed_on(name: str) -> onnx.AttributeProto:
    kinds = {"direction": onnx.AttributeProto.STRING, "activations": onnx.AttributeProto.STRINGS}
    kind = kinds.get(name, onnx.AttributeProto.INT)
    return onnx.AttributeProto(name=name, ref_attr_name=name, type=kind)
