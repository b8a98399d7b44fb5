"""Latency as ratios within one run: what a Session adds, and whether a step's cost is flat."""

import statistics
import time

import numpy as np
import onnxruntime
import pytest
from torch import nn

import rnnport

pytestmark = pytest.mark.slow

FEATURES = 28
ATTEMPTS = 5  # a neighbour on the machine may spoil one run; a real slow-down spoils all


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A streaming file of two LSTM layers of 64."""
    import torch

    path = tmp_path_factory.mktemp("latency") / "model.onnx"
    module = nn.LSTM(FEATURES, 64, num_layers=2, batch_first=True)
    rnnport.export(module, (torch.randn(2, 5, FEATURES),), path, stream=True, verify=False)
    return path


def medians(*calls, rounds=40):
    """Median seconds of each call, measured in turn so that noise hits all alike."""
    samples = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for call, times in zip(calls, samples, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in samples]


def best_ratio(above, below):
    ratios = []
    for _ in range(ATTEMPTS):
        over, under = medians(above, below)
        ratios.append(over / under)
    return min(ratios)


def sequence(steps):
    return np.random.default_rng(0).normal(size=(1, steps, FEATURES)).astype(np.float32)


@pytest.mark.parametrize("steps", [50, 200])
def test_a_session_costs_at_most_a_third_more_than_onnx_runtime_s_own_call(model, steps):
    session = rnnport.load(model, device="cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    bare = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = sequence(steps)
    feeds = {session.spec.inputs[0].name: x}
    for state in session.spec.states:
        feeds[state.input] = np.zeros([1, *state.shape[1:]], np.float32)
    ratio = best_ratio(lambda: session(feeds), lambda: bare.run(None, feeds))
    assert ratio < 1.3


def test_the_cost_of_a_step_is_flat_from_100_to_1000_steps(model):
    session = rnnport.load(model, device="cpu")
    name = session.spec.inputs[0].name
    short, long = sequence(100), sequence(1000)
    ratio = best_ratio(lambda: session({name: long}), lambda: session({name: short})) / 10
    assert ratio < 1.5


def test_a_push_costs_no_more_for_a_stream_that_is_old(model):
    session = rnnport.load(model, device="cpu")
    young, old = session.stream(), session.stream()
    step = sequence(1)
    for _ in range(20_000):
        old.push(step)
    ratio = best_ratio(lambda: old.push(step), lambda: young.push(step))
    assert ratio < 1.5
