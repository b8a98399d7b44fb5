"""RNN204: a quantized file whose recurrent layers are not quantized."""

from __future__ import annotations

from collections.abc import Iterator

from rnnport.errors import RnnportError
from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.quantize.already import QUANTIZING
from rnnport.graph.recurrent import Recurrent, recurrent_nodes
from rnnport.graph.scopes import Reading, Scope
from rnnport.graph.stored import WHOLE
from rnnport.spec import METADATA_KEY, parse


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Recurrent nodes in float, in a file that a quantizer wrote."""
    evidence = _evidence(reading)
    if not evidence:
        return
    told = _told(reading)
    for node in recurrent_nodes(reading):
        passed_over = node.dtype.startswith("float") and not _has_small_weights(reading, node)
        if passed_over and node.label not in told:
            yield Fault(
                node.label,
                f"this {node.op} is still {node.dtype}, although {evidence}: {_why(node)}",
            )


def _evidence(reading: Reading) -> str:
    if "quant" in reading.model.producer_name.lower():
        return f"the file was written by {reading.model.producer_name}"
    if any(node.proto.op_type in QUANTIZING for node in reading.nodes()):
        return "other nodes of the file are quantized"
    return ""


def _told(reading: Reading) -> set[str]:
    """The nodes of which the file's own account of its quantization says why they were kept."""
    text = reading.metadata.get(METADATA_KEY)
    try:
        account = (parse(text).quantization if text else None) or {}
        return {each["node"] for each in account.get("nodes", ()) if each["reason"]}
    except (RnnportError, LookupError, TypeError, AttributeError):
        return set()  # RNN205 reports a description that cannot be read


def _why(node: Recurrent) -> str:
    if node.op != "LSTM":
        return f"ONNX Runtime's quantizer knows no {node.op}"
    scope, names = node.node.scope, (node.input("W"), node.input("R"))
    if any(name not in scope.home(name).initializers for name in names):
        return "its weights are not initializers (see RNN201), so the quantizer passed it over"
    return "the quantizer passed it over"


def _has_small_weights(reading: Reading, node: Recurrent) -> bool:
    return node.function is not None or all(
        _is_quantized(reading, node.node.scope, node.input(role), set()) for role in ("W", "R")
    )


def _is_quantized(reading: Reading, scope: Scope, name: str, seen: set[str]) -> bool:
    """Whether a value is made from small integers, also across the call of a function."""
    if not name or f"{scope.path}{name}" in seen:
        return False
    seen.add(f"{scope.path}{name}")
    home = scope.home(name)
    if home.dtype(name) in WHOLE:
        return True
    if home.is_function and name in home.input_names:
        place = home.input_names.index(name)
        calls = reading.calls(home)
        return any(_is_quantized(reading, c.scope, c.input(place), seen) for c in calls)
    maker = home.makers.get(name)
    if maker is None:
        return False
    return any(_is_quantized(reading, home, source, seen) for source in maker.proto.input)


RULE = Rule(
    id="RNN204",
    title="Quantization that left the recurrent layers alone",
    severity=Severity.WARNING,
    why=(
        "ONNX Runtime's quantizer passes over an LSTM whose weights are not initializers, and "
        "every GRU and RNN, without a word: the file is called int8 and its largest layers are "
        "float32."
    ),
    remedy=(
        "not by --fix. Repair the file before it was quantized (`rnnport check --fix` stores the "
        "weights as initializers), then quantize it again."
    ),
    find=find,
)
