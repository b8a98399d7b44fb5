"""What the plug-in provider gains over ONNX Runtime on an untouched node: the policy's figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np
import onnx
import onnxruntime
from bench_kernels import GATES, compared, layer

from rnnport.errors import UnavailableError
from rnnport.native.library import level
from rnnport.runtime.provider import PRECISIONS, offer_provider

STOCK = "stock"
STATES = ("h", "c")
FLOAT = onnx.TensorProto.FLOAT


def session(model: onnx.ModelProto, precision: str) -> onnxruntime.InferenceSession:
    """The model on one thread, with the provider or, as ``stock``, as ONNX Runtime comes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = model.SerializeToString()
    if precision == STOCK:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    if missing := offer_provider(options, precision, claim="all"):
        raise UnavailableError(missing)
    return onnxruntime.InferenceSession(content, options)


def variant(op: str, size: int) -> onnx.ModelProto:
    """The layer of a cell, its initial states given: ``GRU0`` has ``linear_before_reset=0``.

    Without given states ONNX Runtime's RNN skips a product in the first step.
    """
    model = layer(op.rstrip("0+"), size)
    node = model.graph.node[0]
    node.input.extend(["", *STATES[: 1 + (op == "LSTM")]])
    for name in node.input[5:]:
        state = onnx.helper.make_tensor_value_info(name, FLOAT, [1, "batch", size])
        model.graph.input.append(state)
    attributes = node.attribute
    if op == "GRU0":
        attributes.remove(next(each for each in attributes if each.name == "linear_before_reset"))
    if op == "RNN+":
        attributes.append(onnx.helper.make_attribute("activations", ["Relu"]))
    return model


def measure(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """One row for each layer, batch and time."""
    for op, size in product(options.op, options.hidden):
        model = variant(op, size)
        sessions = {name: session(model, name) for name in (STOCK, *PRECISIONS)}
        for batch, steps in product(options.batch, options.time):
            draw = np.random.default_rng(1)
            feeds = {"x": draw.normal(size=(steps, batch, size)).astype(np.float32)}
            for state in model.graph.input[1:]:
                feeds[state.name] = draw.uniform(-1, 1, (1, batch, size)).astype(np.float32)
            calls: dict[str, Callable[[], object]] = {
                name: partial(each.run, None, feeds) for name, each in sessions.items()
            }
            median = compared(calls, options.rounds)
            yield {
                "op": op,
                "hidden": size,
                "batch": batch,
                "time": steps,
                "stock_us_per_step": round(median[STOCK] * 1e6 / steps, 3),
                **{name: round(median[STOCK] / median[name], 2) for name in PRECISIONS},
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    forms = [*GATES, "GRU0", "RNN+"]
    parser.add_argument("--op", nargs="+", choices=forms, default=forms)
    parser.add_argument("--hidden", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--time", nargs="+", type=int, default=[1, 100])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(json.dumps({"level": level(), "rows": list(measure(options))}, indent=2))


if __name__ == "__main__":
    main()
