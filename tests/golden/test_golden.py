"""A model file of format version 1 loads for ever and gives the answers that it gave at first."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rnnport
from rnnport.parity.cases import grid
from rnnport.parity.compare import compare
from rnnport.runtime.engine import open_engine
from rnnport.runtime.metadata import read_spec
from rnnport.spec import FORMAT_VERSION, ModelSpec, StateSpec, TensorSpec, TimeSpec

FOLDER = Path(__file__).parent
FORMAT_1 = FOLDER / "format_1.onnx"
SHA256 = "d9bddcff099da9cc9b141238d7c7476edc38fad7be5ae69794d2861dcfcc3875"

STATE = ("batch", 1, 2)
SPEC = ModelSpec(
    inputs=(
        TensorSpec("x", "float32", ("batch", "time", 2), 0, 1, mean=(1.0, 2.0), std=(0.5, 3.0)),
        TensorSpec("lengths", "int64", ("batch",), 0),
        TensorSpec("state.rnn.h", "float32", STATE, 0),
    ),
    outputs=(
        TensorSpec("scores", "float32", ("batch", "time", 3), 0, 1),
        TensorSpec("next.rnn.h", "float32", STATE, 0),
    ),
    states=(StateSpec("state.rnn.h", "next.rnn.h", "float32", STATE, [[1.0, 2.0]]),),
    task="classify",
    lengths="lengths",
    time=TimeSpec(1, 1, 100),
    classes=("low", "mid", "high"),
    provenance={"rnnport": "0.1.0", "data": {"name": "by hand", "sha256": ""}},
)

# by hand: h(t) = relu(x(t) + [h2, 2·h1](t-1) + [1, -3]), scores(t) = [h1 + h2, 2·h2, -h1]
X = np.array([[[1, 2], [0, 1], [-9, 4]], [[2, 0], [7, 7], [7, 7]]], np.float32)
LENGTHS = np.array([3, 1])
H = np.array([[[4, 1], [2, 6], [0, 5]], [[5, 0], [0, 0], [0, 0]]], np.float32)
SCORES = np.stack([H[..., 0] + H[..., 1], 2 * H[..., 1], -H[..., 0]], -1)
LAST = np.array([[[0, 5]], [[5, 0]]], np.float32)
FIRST = np.array([[[1, 2]], [[1, 2]]], np.float32)


def test_every_format_version_has_its_golden_file():
    files = {path.name for path in FOLDER.glob("format_*.onnx")}
    assert files == {f"format_{version}.onnx" for version in range(1, FORMAT_VERSION + 1)}


def test_the_file_is_the_one_that_was_committed_first():
    assert hashlib.sha256(FORMAT_1.read_bytes()).hexdigest() == SHA256


def test_its_spec_reads_as_it_was_written_and_an_unknown_key_is_ignored():
    assert read_spec(FORMAT_1) == SPEC


def test_its_answers_are_exactly_those_worked_out_by_hand():
    feeds = {"x": X, "lengths": LENGTHS, "state.rnn.h": FIRST}
    answers = open_engine("ort-cpu", str(FORMAT_1)).run(feeds)
    assert answers["scores"].tolist() == SCORES.tolist()
    assert answers["next.rnn.h"].tolist() == LAST.tolist()


def test_a_session_starts_from_the_initial_states():
    session = rnnport.load(FORMAT_1, device="cpu")
    assert session(X, LENGTHS).tolist() == SCORES.tolist()


def test_a_stream_gives_the_same_answers_step_by_step():
    stream = rnnport.load(FORMAT_1, device="cpu").stream(batch=1)
    answers = [stream.push(X[:1, step : step + 1]) for step in range(3)]
    assert np.concatenate(answers, 1).tolist() == SCORES[:1].tolist()


def test_chunks_and_rows_alone_agree_with_the_whole():
    engine = open_engine("ort-cpu", str(FORMAT_1))
    report = compare(engine, engine, grid(engine.spec()), atol=0.0, rtol=1e-6)
    assert report.ok, "\n".join(report.lines())


def test_it_runs_with_torch_and_onnx_absent():
    program = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "import numpy as np, rnnport\n"
        "session = rnnport.load(sys.argv[1], device='cpu')\n"
        "print(session(np.ones((1, 2, 2), np.float32), np.array([2])).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(FORMAT_1)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[[4.0, 0.0, -4.0], [8.0, 12.0, -2.0]]]"


def test_the_recipe_of_the_file_still_writes_the_same_graph():
    onnx = pytest.importorskip("onnx")
    from importlib.util import module_from_spec, spec_from_file_location

    found = spec_from_file_location("write_format_1", FOLDER / "write_format_1.py")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    assert onnx.load(FORMAT_1).graph == module.model().graph
