"""The ONNX Runtime engine: names, specs of foreign files, and every error in rnnport's terms."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import small_models
from onnx import helper

from rnnport.errors import DataError, ModelFileError, SpecVersionError, UnavailableError
from rnnport.runtime.engine import open_engine
from rnnport.runtime.ort import open_cpu

X = np.ones((2, 3, small_models.FEATURES), np.float32)


def test_run_gives_every_output_by_name(tmp_path):
    engine = open_cpu(small_models.classifier(tmp_path / "m.onnx", streaming=True))
    state = np.zeros((2, small_models.HIDDEN), np.float32)
    outputs = engine.run({"x": X, "state.rnn.h": state, "state.rnn.c": state})
    assert {name: array.shape for name, array in outputs.items()} == {
        "probabilities": (2, 3, 5),
        "next.rnn.h": (2, 4),
        "next.rnn.c": (2, 4),
    }


@pytest.mark.parametrize("streaming", [False, True])
def test_no_memory_pattern_is_kept_for_every_shape_seen(tmp_path, streaming):
    engine = open_cpu(small_models.classifier(tmp_path / "m.onnx", streaming=streaming))
    assert engine._session.get_session_options().enable_mem_pattern is False


def test_the_table_of_engines_opens_it(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx")
    engine = open_engine("ort-cpu", str(path))
    assert engine.name == "ort-cpu"
    assert engine.run({"x": X})["probabilities"].sum() == pytest.approx(2.0)


def test_a_foreign_file_gets_a_spec_from_its_inputs_and_outputs(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx", lengths=True, spec=False)
    spec = open_cpu(path).spec()
    assert [(t.name, t.dtype, t.shape) for t in spec.inputs] == [
        ("x", "float32", ("batch", "time", 3)),
        ("lengths", "int64", ("batch",)),
    ]
    assert (spec.inputs[0].batch_axis, spec.inputs[0].time_axis) == (0, 1)
    assert (spec.task, spec.states, spec.lengths) == (None, (), None)


def test_an_unnamed_axis_of_a_foreign_file_gets_a_name(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx", spec=False)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    onnx.save(model, path)
    assert open_cpu(path).spec().inputs[0].shape == ("batch", "x.1", 3)


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, "x"),
        ({"x": X, "y": X}, "y"),
        ({"x": X[:, :, :2]}, "x"),
        ({"x": X.astype(np.float64)}, "float64; expected float32"),
        ({"x": X[:, :0]}, r"'x' is empty.*\[2, 0, 3\]"),
    ],
)
def test_feeds_that_do_not_fit_are_data_errors(tmp_path, feeds, says):
    engine = open_cpu(small_models.classifier(tmp_path / "m.onnx"))
    with pytest.raises(DataError, match=says):
        engine.run(feeds)


def test_a_failure_inside_the_graph_is_not_the_users_mistake(tmp_path):
    draw = small_models.Drawn(0)
    draw.add("fixed", np.zeros((1, 4, 3), np.float32))
    spec = small_models.ModelSpec(
        inputs=(small_models.TensorSpec("x", "float32", ("batch", "time", 3), 0, 1),),
        outputs=(small_models.TensorSpec("y", "float32", ("batch", "time", 3), 0, 1),),
    )
    node = small_models.node("Add", ["x", "fixed"], ["y"])
    engine = open_cpu(small_models.save(tmp_path / "m.onnx", [node], draw, spec, True))
    with pytest.raises(UnavailableError, match="failed to run"):
        engine.run({"x": X})


def test_a_graph_that_onnxruntime_refuses_is_a_model_file_error(tmp_path):
    path = tmp_path / "m.onnx"
    value = [helper.make_tensor_value_info(name, 1, [1]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("NoSuchOp", ["x"], ["y"])], "g", *[[v] for v in value]
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    with pytest.raises(ModelFileError, match="NoSuchOp"):
        open_cpu(path)


def test_damage_inside_the_graph_is_a_model_file_error(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx")
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"m\.onnx"):
        open_cpu(path)


def test_metadata_of_another_graph_is_refused(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.input[0].name = "z"
    model.graph.node[0].input[0] = "z"
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=r"promises \['x'\].*has \['z'\]"):
        open_cpu(path)


def test_a_newer_spec_is_refused_before_the_graph_is_read(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx")
    content = path.read_bytes().replace(b'"format_version": 1', b'"format_version": 7')
    path.write_bytes(content)
    with pytest.raises(SpecVersionError):
        open_cpu(path)


WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "onnxruntime":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import importlib.metadata
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = version
from rnnport.cli.main import main
sys.argv = ["rnnport", "infer", sys.argv[1], "--input", sys.argv[1] + ".npy"]
main()
"""


def test_without_onnxruntime_both_extras_are_named(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx")
    command = [sys.executable, "-c", WITHOUT, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "pip install 'rnnport[cpu]', or 'rnnport[gpu]'" in done.stderr
    assert "Traceback" not in done.stderr
