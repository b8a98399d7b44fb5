"""The ONNX reference evaluator as an engine: slow, in NumPy, near to the specification's text.

Its recurrent operators accept and ignore ``sequence_lens``, ``clip``, ``activations`` and more
(onnx 1.23); this engine refuses whatever it would get wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rnnport.errors import MissingExtraError, RequestError, UnsupportedModelError
from rnnport.runtime.engine import Array, Arrays
from rnnport.runtime.inputs import check_feeds
from rnnport.runtime.metadata import read_spec
from rnnport.spec import ModelSpec

try:
    import onnx
    from onnx import inliner
    from onnx.reference import ReferenceEvaluator
except ImportError as missing:
    raise MissingExtraError("onnx", "onnx", "the reference engine") from missing

from rnnport.runtime import model_proto

USUAL_ACTIVATIONS = {
    "LSTM": ["sigmoid", "tanh", "tanh"],
    "GRU": ["sigmoid", "tanh"],
    "RNN": ["tanh"],
}
# attributes whose value the evaluator ignores, with the value at which that does no harm
IGNORED = {"clip": None, "activation_alpha": None, "activation_beta": None, "input_forget": 0}


def open_reference(path: str) -> ReferenceEngine:
    """Open a model file with the ONNX reference evaluator.

    Raises:
        RequestError: there is no such file.
        ModelFileError: the file is not an ONNX model.
        UnsupportedModelError: the evaluator would answer it wrongly, or not at all.
    """
    spec = read_spec(path)
    model = model_proto.load_proto(path)
    return ReferenceEngine(model, spec or model_proto.bare_spec(model), Path(path).name)


class ReferenceEngine:
    """Runs a model on the ONNX reference evaluator."""

    name = "reference"

    def __init__(self, model: onnx.ModelProto, spec: ModelSpec, where: str) -> None:
        # what a call gives to a function's body is seen where the body stands in the call's place;
        # the evaluator also wants as many inputs of a call as the function has
        model = inliner.inline_local_functions(model) if model.functions else model
        refuse_ignored(model)
        self._spec = spec
        self._outputs = [output.name for output in model.graph.output]
        try:
            self._evaluator = _Evaluator(model)
        except Exception as error:  # it raises whatever an operator raises
            raise UnsupportedModelError(
                f"the reference evaluator cannot run {where}: {error}"
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
        try:
            answers = self._evaluator.run(None, dict(feeds))
        except UnsupportedModelError:
            raise
        except NotImplementedError as error:
            raise UnsupportedModelError(f"the reference evaluator lacks {error}") from error
        except Exception as error:  # it raises whatever an operator raises
            raise RequestError(
                f"the reference evaluator fails: {type(error).__name__}: {error}"
            ) from error
        return {
            name: np.asarray(answer) for name, answer in zip(self._outputs, answers, strict=True)
        }


def refuse_ignored(model: onnx.ModelProto) -> None:
    """Refuse recurrent nodes with attributes that the evaluator reads over.

    Raises:
        UnsupportedModelError: names the node and the attributes.
    """
    for node in model_proto.recurrent_protos(model):
        values = model_proto.attributes(node)
        wrong = [name for name, usual in IGNORED.items() if values.get(name, usual) != usual]
        usual = USUAL_ACTIVATIONS[node.op_type]
        if model_proto.activations(node) not in ([], usual, usual * 2):
            wrong.append("activations")
        if wrong:
            raise UnsupportedModelError(
                f"the reference evaluator ignores {', '.join(wrong)} of the {node.op_type} "
                f"'{node.name}': its answer would be wrong"
            )


class _Evaluator(ReferenceEvaluator):
    """The evaluator with recurrent operators that refuse rows shorter than the padding.

    It hands itself down to functions and bodies, which a list of replaced operators is not.
    """

    def _load_impl(self, node: onnx.NodeProto, input_types: Any = None) -> Any:
        operator = super()._load_impl(node, input_types)
        if node.op_type in model_proto.RECURRENT and node.domain in model_proto.STANDARD:
            return type(node.op_type, (_WholeRows, operator), {})
        return operator


class _WholeRows:
    """Mixed into a recurrent operator: refuses the lengths that it would ignore."""

    def _run(self, *inputs: Any, **attributes: Any) -> Any:
        time = inputs[0].shape[1 if attributes.get("layout") else 0]
        lens = inputs[model_proto.SEQUENCE_LENS :][:1]
        if lens and lens[0] is not None and (np.asarray(lens[0]) != time).any():
            raise UnsupportedModelError(
                "the reference evaluator ignores lengths: rows shorter than their padding would "
                "be answered wrongly"
            )
        return super()._run(*inputs, **attributes)  # type: ignore[misc]
