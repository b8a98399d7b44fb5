"""RNN301: lengths that a target ignores or refuses."""

from __future__ import annotations

from collections.abc import Iterator

from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.recurrent import recurrent_nodes
from rnnport.graph.scopes import Reading

# What each target does with sequence_lens: RTen and tract from their sources, OpenVINO 2026.4 run
# on its CPU plug-in with one row shorter than the padding.
WHAT_HAPPENS = {
    "rten": "RTen reads and ignores it: the padding changes the answers without a word",
    "openvino": "OpenVINO's CPU ignores it: the padding changes the answers without a word",
    "tract": "tract refuses every length that is not the whole padding",
}


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Recurrent nodes with ``sequence_lens``, once for each target that does not honour it."""
    for node in recurrent_nodes(reading):
        if node.input("sequence_lens"):
            for target in sorted(targets & WHAT_HAPPENS.keys()):
                yield Fault(
                    node.label, f"this {node.op} takes sequence_lens; {WHAT_HAPPENS[target]}"
                )


RULE = Rule(
    id="RNN301",
    title="Lengths that the target does not honour",
    severity=Severity.ERROR,
    why=(
        "sequence_lens makes a recurrent node stop at each row's true end. ONNX Runtime honours "
        "it on CPU and CUDA; other runtimes ignore it or refuse the file."
    ),
    remedy=(
        "not by --fix. Run rows of one length together without padding, or keep this file for "
        "ONNX Runtime."
    ),
    find=find,
    targets=frozenset(WHAT_HAPPENS),
)
