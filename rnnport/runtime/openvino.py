"""OpenVINO on the CPU, in float32, as an engine.

OpenVINO 2026.4 compiles models that it then answers wrongly: rows shorter than their padding,
``layout=1``, peepholes, ``input_forget``, activations that differ between directions. This engine
refuses them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rnnport.errors import MissingExtraError, RequestError, UnsupportedModelError
from rnnport.runtime.engine import Array, Arrays
from rnnport.runtime.inputs import check_feeds
from rnnport.runtime.metadata import read_spec
from rnnport.spec import FUNCTION_DOMAIN, ModelSpec

try:
    import openvino
except ImportError as missing:
    raise MissingExtraError("openvino", "dev", "the engine 'openvino'") from missing
try:
    import onnx
except ImportError as missing:
    raise MissingExtraError("onnx", "onnx", "the engine 'openvino'") from missing

from rnnport.runtime import model_proto


def open_cpu(path: str) -> OpenVinoEngine:
    """Compile a model file for the CPU.

    Raises:
        RequestError: there is no such file.
        ModelFileError: the file is not an ONNX model.
        UnsupportedModelError: OpenVINO cannot compile the model, or would answer it wrongly.
    """
    spec = read_spec(path)
    model = model_proto.load_proto(path, weights=False)
    return OpenVinoEngine(path, spec or model_proto.bare_spec(model), model)


class OpenVinoEngine:
    """Runs a model on OpenVINO's CPU plug-in."""

    name = "openvino"

    def __init__(self, path: str, spec: ModelSpec, model: onnx.ModelProto) -> None:
        _refuse_functions(model, Path(path).name)
        nodes = list(model_proto.recurrent_protos(model))
        for node in nodes:
            _refuse_wrong(node)
        position = model_proto.SEQUENCE_LENS
        self._whole_rows = any(model_proto.takes_input(node, position) for node in nodes)
        if self._whole_rows and spec.lengths is None:
            raise UnsupportedModelError(
                "OpenVINO answers rows shorter than their padding wrongly, and without rnnport's "
                "metadata it is not known which input holds the lengths"
            )
        self._spec = spec
        core = openvino.Core()
        try:
            # the CPU plug-in may choose bfloat16 by itself, whose error grows through the state
            options = {"INFERENCE_PRECISION_HINT": "f32"}
            self._compiled = core.compile_model(core.read_model(path), "CPU", options)
        except RuntimeError as error:
            raise UnsupportedModelError(
                f"OpenVINO cannot run {Path(path).name}: {_last_line(error)}"
            ) from error

    def spec(self) -> ModelSpec:
        return self._spec

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Every graph output by name.

        Raises:
            RequestError: the feeds do not fit, or the graph fails on them.
            UnsupportedModelError: a row is shorter than its padding: it would be answered wrongly.
        """
        check_feeds(self._spec, feeds)
        if self._whole_rows:
            self._refuse_short_rows(feeds)
        try:
            answers = self._compiled(dict(feeds))
        except RuntimeError as error:
            raise RequestError(f"OpenVINO fails on these feeds: {_last_line(error)}") from error
        return {
            tensor.name: np.asarray(answers[self._compiled.output(tensor.name)])
            for tensor in self._spec.outputs
        }

    def _refuse_short_rows(self, feeds: Arrays) -> None:
        lengths = feeds[str(self._spec.lengths)]
        for tensor in self._spec.data_inputs():
            axis = tensor.time_axis
            if axis is not None and (lengths != feeds[tensor.name].shape[axis]).any():
                raise UnsupportedModelError(
                    "OpenVINO answers rows shorter than their padding wrongly: it ignores lengths"
                )


def _refuse_functions(model: onnx.ModelProto, where: str) -> None:
    known = {(function.domain, function.name) for function in model.functions}
    called = {(n.domain, n.op_type) for n in model_proto.all_nodes(model)} & known
    if called:
        names = ", ".join(f"{domain}.{name}" for domain, name in sorted(called))
        own = any(domain == FUNCTION_DOMAIN for domain, _ in called)
        way = "'rnnport quantize --inline' writes" if own else "onnx.inliner makes of them"
        raise UnsupportedModelError(
            f"OpenVINO knows no ONNX functions, and {where} calls {names}: {way} plain operators"
        )


def _refuse_wrong(node: onnx.NodeProto) -> None:
    values = model_proto.attributes(node)
    names = model_proto.activations(node)
    half = len(names) // 2
    wrong = [name for name in ("layout", "input_forget") if values.get(name, 0) != 0]
    if model_proto.takes_input(node, model_proto.PEEPHOLES):
        wrong.append("peepholes")
    if values.get("direction") == b"bidirectional" and names[:half] != names[half:]:
        wrong.append("activations that differ between directions")
    if wrong:
        raise UnsupportedModelError(
            f"OpenVINO answers the {node.op_type} '{node.name}' wrongly: it ignores "
            f"{', '.join(wrong)}"
        )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
