"""What ``inspect`` says of our files, of files from elsewhere, and of files that are broken."""

import json
from dataclasses import asdict, replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from recurrent_files import Shape, build, spec_of
from typer.testing import CliRunner

from rnnport.cli.main import app
from rnnport.errors import ModelFileError
from rnnport.graph.annotate import write_spec
from rnnport.graph.inference import infer_spec
from rnnport.graph.inspect import inspect_file
from rnnport.graph.quantize.rewriting import with_small_weights
from rnnport.graph.reading import frozen_axes, open_reading
from rnnport.graph.states import Pair
from rnnport.parity.drift import Drift, to_record
from rnnport.spec import METADATA_KEY


def command(*arguments):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


@pytest.fixture
def save(tmp_path):
    def write(model):
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return write


def test_our_own_file_shows_its_spec(save):
    shape = Shape("GRU", 2, lengths=True, stream=True)
    found = inspect_file(save(build(shape)))
    assert found.spec == spec_of(shape)
    assert not found.inferred
    assert found.opsets == {"ai.onnx": 18}
    assert found.producer == "tests"


def test_recurrent_nodes_show_their_sizes(save):
    found = inspect_file(save(build(Shape("LSTM", 2, "bidirectional"))))
    first, second = found.recurrent
    assert (first.op, first.layer, first.direction) == ("LSTM", 1, "bidirectional")
    assert (first.input_size, first.hidden_size) == (3, 4)
    assert (second.layer, second.input_size) == (2, 8)
    assert first.weight_bytes == 4 * 2 * (16 * 3 + 16 * 4 + 32)
    assert first.constant_weights
    assert first.linear_before_reset is None
    weights = first.weight_bytes + second.weight_bytes + 4 * (8 * 2)
    assert found.weight_bytes == weights + 3 * 8  # and the Reshape's three int64
    assert found.file_bytes > found.weight_bytes


@pytest.mark.parametrize("reset", [0, 1])
def test_a_gru_shows_whether_it_resets_after_the_product(save, reset):
    found = inspect_file(save(build(Shape("GRU", linear_before_reset=reset))))
    assert found.recurrent[0].linear_before_reset is bool(reset)


def test_weights_that_are_computed_are_told(save):
    model = build(Shape("RNN"))
    node = next(n for n in model.graph.node if n.op_type == "RNN")
    model.graph.node.insert(0, helper.make_node("Neg", ["W.0"], ["negative"]))
    node.input[1] = "negative"
    path = save(model)
    assert not inspect_file(path).recurrent[0].constant_weights
    assert "weights computed at run time" in command(path).stdout


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize(("precision", "stored"), [("int8", "int8"), ("bf16", "bfloat16")])
def test_quantized_layers_show_what_they_are_stored_in(save, precision, stored, inline):
    parent = build(Shape("LSTM", 2, "bidirectional", hidden=16))
    small, accounts = with_small_weights(parent, precision, inline=inline)
    path = save(small)
    found = inspect_file(path)
    assert [(facts.op, facts.layer, facts.stored) for facts in found.recurrent] == [
        ("LSTM", 1, stored),
        ("LSTM", 2, stored),
    ]
    sizes = {each.node: each.bytes_after for each in accounts}
    for facts in found.recurrent:
        assert facts.constant_weights
        assert facts.hidden_size == 16
        assert facts.weight_bytes == sizes[facts.name]
        assert facts.function == ("" if inline else f"rnnport.{small.functions[0].name}")
    assert found.bytes_by_type[stored] >= sum(
        4 * 2 * 16 * (f.input_size + 16) for f in found.recurrent
    )
    assert sum(found.bytes_by_type.values()) == found.weight_bytes
    printed = command(path).stdout
    assert f" in {stored}" in printed
    assert any(
        line.startswith("  weights") and f"{stored} " in line for line in printed.splitlines()
    )
    assert "weights computed at run time" not in printed


def test_the_account_of_a_quantization_is_printed_in_short(save):
    shape = Shape("GRU", hidden=16)
    small, accounts = with_small_weights(build(shape), "int8")
    drift = {"scores": Drift(0.001, 0.01, 0.1, (0.001, 0.002, 0.002, 0.003), 0.995, 200)}
    account = {
        "precision": "int8",
        "nodes": [asdict(each) for each in accounts],
        "bytes_before": 123_456,
        "bytes_after": 45_678,
        "drift": to_record(drift),
        "functions_version": 1,
        "calibrated_on": None,
    }
    write_spec(small, replace(spec_of(shape), quantization=account))
    lines = command(save(small)).stdout.splitlines()
    assert "  quantized   int8, 1 of 2 nodes, 123.5 kB before, functions of version 1" in lines
    assert (
        "  drift       scores  0.001 RMS (1.00% of its size), 0.01 at most, in time 0.001, 0.002, "
        "0.003, 99.50% of 200 decisions agree"
    ) in lines


@pytest.mark.parametrize("account", [3, ["int8"], {"nodes": [1]}, {"drift": {"y": 1}}])
def test_an_account_that_is_none_is_damage(save, account):
    model = build(Shape("GRU"))
    told = json.loads(spec_of(Shape("GRU")).to_json()) | {"quantization": account}
    helper.set_model_props(model, {METADATA_KEY: json.dumps(told)})
    result = command(save(model))
    assert result.exit_code == 3
    assert "metadata is damaged" in result.stderr


def test_a_file_from_elsewhere_shows_what_can_be_inferred(save):
    model = build(Shape("LSTM", 1, lengths=True, stream=True), metadata=False)
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = {"batch": "s53", "time": "s77"}[axis.dim_param]
    found = inspect_file(save(model))
    x, lengths = found.spec.data_inputs()[0], found.spec.inputs[1]
    assert found.inferred
    assert (x.shape, x.batch_axis, x.time_axis) == (("batch", "time", 3), 0, 1)
    assert found.spec.lengths == lengths.name == "lengths"
    assert set(found.pairs) == {
        Pair("state.rnn.0.h", "next.rnn.0.h"),
        Pair("state.rnn.0.c", "next.rnn.0.c"),
    }
    text = command(save(model)).stdout
    assert "none in the file: what follows is inferred" in text
    assert "state.rnn.0.h → next.rnn.0.h (looks like one)" in text


def test_axes_of_a_graph_without_recurrence_are_guessed_by_name(save):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch_size", "seq_len", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch_size", "seq_len", 4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    path = save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    spec = infer_spec(path)
    assert (spec.inputs[0].batch_axis, spec.inputs[0].time_axis) == (0, 1)
    assert "none: no LSTM, GRU or RNN node" in command(path).stdout


def test_axes_that_an_exporter_froze_are_found(save):
    model = build(Shape())
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 110
    assert frozen_axes(open_reading(save(model))) == [("x", 1, 110)]


def test_json_is_one_document(save):
    result = command(save(build(Shape("GRU", stream=True))), "--json")
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert document["recurrent"][0]["hidden_size"] == 4
    assert document["spec"]["states"][0]["input"] == "state.rnn.0.h"


def test_external_weights_are_counted_and_named(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(
        build(Shape("LSTM")),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    found = inspect_file(path)
    assert found.external == {"weights.bin": (tmp_path / "weights.bin").stat().st_size}
    assert found.recurrent[0].weight_bytes == 4 * (16 * 3 + 16 * 4 + 32)
    (tmp_path / "weights.bin").unlink()
    result = command(path)
    assert result.exit_code == 3
    assert "'weights.bin'" in result.stderr
    assert "missing" in result.stderr


def test_weights_outside_the_folder_are_refused(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(build(Shape()), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError):
        inspect_file(path)


@pytest.mark.parametrize("dims", [[2**62, 2**62], [-1, 4], [0, 2**40]])
def test_hostile_sizes_neither_crash_nor_eat_memory(save, dims):
    model = build(Shape(), metadata=False)
    tensor = model.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend(dims)
    path = save(model)
    result = command(path)
    assert result.exit_code in (0, 3)
    assert not isinstance(result.exception, MemoryError | OverflowError | ValueError)


def test_huge_symbolic_sizes_are_only_printed(save):
    model = build(Shape(), metadata=False)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**62
    assert str(2**62) in command(save(model)).stdout


def corrupted(kind, path):
    whole = build(Shape("LSTM")).SerializeToString()
    text = build(Shape("LSTM"), metadata=False)
    helper.set_model_props(text, {METADATA_KEY: "{broken"})
    newer = build(Shape("LSTM"), metadata=False)
    helper.set_model_props(newer, {METADATA_KEY: '{"format_version": 2}'})
    path.write_bytes(
        {
            "empty": b"",
            "text": b"PK\x03\x04 this is a zip file, not a model",
            "cut": whole[: len(whole) // 2],
            "noise": np.random.default_rng(0).bytes(4000),
            "broken metadata": text.SerializeToString(),
            "newer": newer.SerializeToString(),
        }[kind]
    )


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "noise", "broken metadata", "newer"])
def test_a_broken_file_ends_in_one_clear_line(kind, tmp_path):
    path = tmp_path / "model.onnx"
    corrupted(kind, path)
    result = command(path)
    assert result.exit_code == 3
    assert str(path) in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_a_missing_file_and_a_folder_are_wrong_requests(tmp_path):
    missing, folder = command(tmp_path / "none.onnx"), command(tmp_path)
    assert (missing.exit_code, folder.exit_code) == (2, 2)
    assert "does not exist" in missing.stderr
    assert "is a folder" in folder.stderr


def test_a_truncation_anywhere_is_refused_or_harmless(tmp_path):
    whole = build(Shape("GRU", stream=True)).SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        try:
            inspect_file(path)
        except ModelFileError as error:
            assert str(path) in str(error)  # noqa: PT017 - a cut at a field's end may still parse


def test_weights_in_a_constant_node_are_seen(save):
    model = build(Shape("RNN"))
    tensor = next(t for t in model.graph.initializer if t.name == "W.0")
    values = numpy_helper.to_array(tensor)
    model.graph.initializer.remove(tensor)
    value = numpy_helper.from_array(values)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["W.0"], value=value))
    assert inspect_file(save(model)).recurrent[0].constant_weights
