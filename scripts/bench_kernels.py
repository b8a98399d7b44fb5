"""What the native kernels gain over ONNX Runtime's float32 node, on one thread, side by side."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from rnnport.graph.quantize.rewriting import with_small_weights
from rnnport.native.library import level, library_path

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LEAST_SECONDS = 2e-3  # of one sample


def layer(op: str, size: int) -> onnx.ModelProto:
    """One node: x ``[time, batch, size]`` → y ``[time, 1, batch, size]``."""
    draw, bound, rows = np.random.default_rng(0), size**-0.5, GATES[op] * size
    shapes = {"W": (1, rows, size), "R": (1, rows, size), "B": (1, 2 * rows)}
    weights = [
        numpy_helper.from_array(draw.uniform(-bound, bound, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    attributes: dict[str, Any] = {"linear_before_reset": 1} if op == "GRU" else {}
    node = helper.make_node(op, ["x", "W", "R", "B"], ["y"], hidden_size=size, **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["time", 1, "batch", size])
    graph = helper.make_graph([node], "layer", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def session(model: onnx.ModelProto, native: bool) -> onnxruntime.InferenceSession:
    """The model on one thread, with the kernels or as ONNX Runtime comes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if native:
        options.register_custom_ops_library(str(library_path()))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def seconds(call: Callable[[], object], count: int) -> float:
    """Seconds of this thread's own time for one call: what other processes take is left out."""
    start = time.thread_time()
    for _ in range(count):
        call()
    return (time.thread_time() - start) / count


def compared(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, measured in turn so that noise hits all alike."""
    counts = {name: 1 + int(LEAST_SECONDS / seconds(call, 2)) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            samples[name].append(seconds(call, counts[name]))
    return {name: statistics.median(times) for name, times in samples.items()}


def measure(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """One row for each layer, batch and time."""
    for precision, op, size in product(options.precision, options.op, options.hidden):
        plain = layer(op, size)
        small, _ = with_small_weights(plain, precision)
        kernel, stock = session(small, native=True), session(plain, native=False)
        for batch, steps in product(options.batch, options.time):
            x = np.random.default_rng(1).normal(size=(steps, batch, size)).astype(np.float32)
            calls: dict[str, Callable[[], object]] = {
                "kernel": partial(kernel.run, None, {"x": x}),
                "stock": partial(stock.run, None, {"x": x}),
            }
            median = compared(calls, options.rounds)
            yield {
                "op": op,
                "precision": precision,
                "hidden": size,
                "batch": batch,
                "time": steps,
                "kernel_us_per_step": round(median["kernel"] * 1e6 / steps, 3),
                "stock_us_per_step": round(median["stock"] * 1e6 / steps, 3),
                "times_faster": round(median["stock"] / median["kernel"], 2),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--op", nargs="+", choices=list(GATES), default=list(GATES))
    parser.add_argument("--precision", nargs="+", choices=["int8", "bf16"], default=["int8"])
    parser.add_argument("--hidden", nargs="+", type=int, default=[64, 128, 256, 512])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--time", nargs="+", type=int, default=[1, 100])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(json.dumps({"level": level(), "rows": list(measure(options))}, indent=2))


if __name__ == "__main__":
    main()
