"""RNN303: operators, attributes and opsets that a target does not have."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.quantize.functions import CALLED
from rnnport.graph.recurrent import Recurrent, recurrent_nodes
from rnnport.graph.scopes import Node, Reading

STANDARD = ("", "ai.onnx", "ai.onnx.ml")
ORT_OWN = ("com.microsoft", "com.microsoft.nchwc", "ai.onnx.preview.training")
FIRST_OPSET = 7  # the first in which every recurrent operator has today's form
# Standard operators that a target's own list of operators does not have.
ABSENT = {"rten": ("RNN", "Scan", "ReverseSequence")}
# Activations that OpenVINO 2026.4 compiles; it refuses the others.
OPENVINO_ACTIVATIONS = ("sigmoid", "tanh", "relu")


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """What some target would refuse, or compute as if it were not there."""
    yield from _opset(reading, targets)
    own = {(f.domain, f.name) for f in reading.model.functions}
    for node in reading.nodes():
        if (node.proto.domain, node.proto.op_type) in own:
            if "openvino" in targets:
                yield Fault(node.label, f"OpenVINO refuses local functions: {_way_out(node)}")
        else:
            yield from _operator(node, targets)
    for recurrent in recurrent_nodes(reading):
        if "openvino" in targets:
            yield from _openvino(recurrent)
        if "tract" in targets and not recurrent.input("initial_h"):
            yield from _tract(recurrent)


def _way_out(node: Node) -> str:
    if (node.proto.domain, node.proto.op_type) in CALLED:
        return "`rnnport quantize --inline` writes plain operators"
    return "export with --inline"


def _opset(reading: Reading, targets: Targets) -> Iterator[Fault]:
    if 0 < reading.opset < FIRST_OPSET:
        yield Fault(
            "",
            f"the file is of opset {reading.opset}; recurrent operators have their present form "
            f"since {FIRST_OPSET}: export again, or convert it with onnx.version_converter",
        )
    if targets & {"ort-cpu", "ort-cuda"} and not _ort_takes(reading.opset):
        yield Fault("", f"the installed ONNX Runtime does not support opset {reading.opset}")


@cache
def _ort_takes(opset: int) -> bool:
    """Whether the ONNX Runtime that is installed opens a file of one node at an opset."""
    try:
        import onnxruntime
    except ImportError:
        return True  # nothing to ask
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    identity = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([identity], "one", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # noqa: BLE001 - the binding's errors have no base class of their own
        return False
    return True


def _operator(node: Node, targets: Targets) -> Iterator[Fault]:
    domain, op = node.proto.domain, node.proto.op_type
    if domain in STANDARD:
        for target in sorted(targets & ABSENT.keys()):
            if op in ABSENT[target]:
                yield Fault(node.label, f"{target} has no operator {op}")
        return
    refusing = sorted(
        target for target in targets if not (domain in ORT_OWN and target.startswith("ort-"))
    )
    if refusing:
        whose = "ONNX Runtime's own" if domain in ORT_OWN else f"of the domain '{domain}'"
        yield Fault(node.label, f"{op} is {whose} operator; {', '.join(refusing)} will not run it")


def _openvino(node: Recurrent) -> Iterator[Fault]:
    if node.input("P"):
        yield Fault(node.label, "OpenVINO ignores the peepholes of this LSTM without a word")
    if node.node.attribute("input_forget", 0):
        yield Fault(node.label, "OpenVINO ignores input_forget of this LSTM without a word")
    odd = sorted(set(node.activations) - set(OPENVINO_ACTIVATIONS))
    if odd:
        yield Fault(node.label, f"OpenVINO refuses the activation {', '.join(odd)}")


def _tract(node: Recurrent) -> Iterator[Fault]:
    shape = node.node.scope.shape(node.input("X"))
    batch = shape[0 if node.layout else 1] if shape and len(shape) == 3 else ""
    if not isinstance(batch, int):
        yield Fault(
            node.label,
            f"this {node.op} has no initial_h; tract then needs the batch fixed before it "
            "optimises the model",
        )


RULE = Rule(
    id="RNN303",
    title="The target lacks an operator, an attribute or the opset",
    severity=Severity.ERROR,
    why=(
        "A file is only as portable as its rarest operator: other runtimes know neither ONNX "
        "Runtime's own operators nor, some of them, local functions, and each knows opsets up to "
        "its own age."
    ),
    remedy="not by --fix. Export at opset 18 with standard operators; `--inline` for functions.",
    find=find,
)
