"""Static quantization of products and convolutions, by ONNX Runtime's own quantizer.

Activations get one scale each, fixed when the file is made, so that an answer still depends on the
input alone; dynamic quantization would take it from whoever shares the batch. Weights take seven
bits of eight: where a CPU adds products of eight-bit numbers in sixteen bits, the eighth overflows.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from rnnport.errors import MissingExtraError, RequestError
from rnnport.graph.quantize.account import NodeAccount
from rnnport.graph.quantize.others import OPERANDS, enough
from rnnport.graph.scopes import Node, Reading

CALIBRATED = ("MatMul", "Gemm", "Conv")
CALIBRATED_FORM = "static QDQ"  # how the account calls what has fixed ranges
Feeds = Mapping[str, np.ndarray]


def quantize_statically(
    model: onnx.ModelProto, feeds: Iterable[Feeds], kept: Iterable[str]
) -> tuple[onnx.ModelProto, list[NodeAccount]]:
    """Put QuantizeLinear and DequantizeLinear around products with constant weights.

    Args:
        model: the whole model, its constants folded; it is not changed.
        feeds: every graph input by name, for each call; the ranges of activations are theirs.
        kept: labels of nodes that stay as they are.

    Returns:
        the new model, and the account of the nodes in the main graph that were changed.

    Raises:
        RequestError: the model does not run on the feeds.
        MissingExtraError: ONNX Runtime is not installed.
    """
    named = _with_names(model)
    nbytes = {node.proto.name: size for node, size in _candidates(Reading(named), set(kept))}
    if not nbytes:
        return model, []
    changed = _run(named, list(nbytes), iter(list(feeds)))
    accounts = [
        NodeAccount(node.label, node.op, "int8", CALIBRATED_FORM, "", size, size // 4)
        for node in Reading(changed).main.nodes
        if (size := nbytes.get(node.proto.name)) and _is_quantized(node)
    ]
    return changed, accounts


def _with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, every node of the main graph under a name of its own: its label."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    taken = set[str]()
    for node in Reading(named).main.nodes:
        name, number = node.label, 1
        while name in taken:
            name, number = f"{node.label}.{number}", number + 1
        node.proto.name = name
        taken.add(name)
    return named


def _candidates(reading: Reading, kept: set[str]) -> Iterator[tuple[Node, int]]:
    """The nodes that are worth it, with the bytes of their weights."""
    for node in reading.main.nodes:
        if node.op in CALIBRATED and node.label not in kept:
            arrays = (node.scope.array(node.input(index)) for index in OPERANDS[node.op])
            size = sum(array.nbytes for array in arrays if array is not None and enough(array))
            if size:
                yield node, size


def _run(model: onnx.ModelProto, nodes: list[str], feeds: Iterator[Feeds]) -> onnx.ModelProto:
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "cpu", "calibrating") from error

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Feeds | None:
            return next(feeds, None)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        output = Path(folder) / "static.onnx"
        try:
            quantize_static(
                model,
                output,
                Reader(),
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(CALIBRATED),
                nodes_to_quantize=nodes,
            )
        except Exception as error:  # the binding's errors have no base class of their own
            raise RequestError(
                f"ONNX Runtime cannot calibrate the model: {' '.join(str(error).split())[:300]}"
            ) from error
        return onnx.load(output)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's advice to fold constants first, which is done."""

    def other(record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)


def _is_quantized(node: Node) -> bool:
    """Whether a weight of the node is made from a small one."""
    makers = (node.scope.maker(node.input(index)) for index in OPERANDS[node.op])
    return any(
        maker is not None
        and maker.op == "DequantizeLinear"
        and node.scope.tensor(maker.input(0)) is not None
        for maker in makers
    )
