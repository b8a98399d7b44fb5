"""What a Session adds to ONNX Runtime's own call, and the cost of a step over time."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime

import rnnport


def seconds(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, measured in turn so that noise hits all alike."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            samples[name].append(seconds(call))
    return {name: statistics.median(times) for name, times in samples.items()}


def bare_session(path: str) -> onnxruntime.InferenceSession:
    """ONNX Runtime as it comes, with one thread like the other side."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def measure(path: str, times: tuple[int, ...], rounds: int) -> list[dict[str, float]]:
    """One row for each number of time steps, batch 1."""
    session, bare = rnnport.load(path, device="cpu", threads=1), bare_session(path)
    (tensor,) = session.spec.data_inputs()
    rows = []
    for steps in times:
        x = np.random.default_rng(0).normal(size=(1, steps, int(tensor.shape[-1])))
        x = x.astype(np.float32)
        feeds = {tensor.name: x}
        if session.spec.lengths:
            feeds[session.spec.lengths] = np.array([steps])
        for state in session.spec.states:
            shape = [1 if isinstance(axis, str) else axis for axis in state.shape]
            feeds[state.input] = np.zeros(shape, state.dtype)
        calls: dict[str, Callable[[], object]] = {
            "session": partial(session, x),
            "bare": partial(bare.run, None, feeds),
        }
        median = interleaved(calls, rounds)
        row = {
            "time": steps,
            "session_us": median["session"] * 1e6,
            "bare_us": median["bare"] * 1e6,
            "ratio": median["session"] / median["bare"],
            "session_us_per_step": median["session"] * 1e6 / steps,
        }
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model file")
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    print(json.dumps(measure(options.model, (1, 50, 100, 300, 1000), options.rounds), indent=2))


if __name__ == "__main__":
    main()
