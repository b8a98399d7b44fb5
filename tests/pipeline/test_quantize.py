"""Quantizing files as a person does: the twin, the account, the budget, and what is refused."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from graph_models import recurrent, save, states_of
from recurrent_files import Shape, build
from small_models import FEATURES, classifier
from typer.testing import CliRunner

import rnnport
from rnnport.cli.main import app
from rnnport.errors import CheckFailedError, DataError, RequestError
from rnnport.parity.drift import from_record
from rnnport.runtime.metadata import read_spec


def command(*arguments):
    result = CliRunner().invoke(app, ["quantize", *map(str, arguments)])
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def stream(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(build(Shape("GRU", layers=2, stream=True, hidden=32, features=24, classes=40)), path)
    return path


@pytest.fixture
def labelled(tmp_path):
    """A classifier of five classes, and labels that are what it says: its accuracy is 1."""
    path = classifier(tmp_path / "classifier.onnx")
    x = np.random.default_rng(0).normal(size=(300, 7, FEATURES)).astype(np.float32)
    classes = np.array(["zero", "one", "two", "three", "four"])
    y = rnnport.load(path, device="cpu")(x).argmax(-1)
    y[:5] = range(5)  # every class has a name in the file
    np.savez(tmp_path / "data.npz", x=x, y=y, classes=classes)
    return path, str(tmp_path / "data.npz")


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp16"])
def test_a_twin_keeps_every_promise_and_says_what_it_is(stream, tmp_path, precision):
    report = rnnport.quantize(stream, precision=precision)
    twin = tmp_path / f"model.{precision}.onnx"
    assert report.path == str(twin)
    parent, spec = read_spec(stream), read_spec(twin)
    assert (spec.inputs, spec.outputs, spec.states) == (
        parent.inputs,
        parent.outputs,
        parent.states,
    )
    told = spec.quantization
    assert told["precision"] == precision
    assert [node["op"] for node in told["nodes"]] == ["GRU", "GRU", "MatMul"]
    assert told["bytes_after"] < 0.6 * told["bytes_before"]
    assert told["functions_version"] == (None if precision == "fp16" else 1)
    assert spec.provenance["parent_sha256"] == hashlib.sha256(stream.read_bytes()).hexdigest()
    assert report.bytes_before == stream.stat().st_size
    assert report.bytes_after == twin.stat().st_size


def test_the_drift_is_that_of_a_thousand_steps_and_is_recorded(stream, tmp_path):
    report = rnnport.quantize(stream, tmp_path / "twin.onnx")
    recorded = from_record(read_spec(tmp_path / "twin.onnx").quantization["drift"])
    assert set(recorded) == {"scores", "next.rnn.0.h", "next.rnn.1.h"}
    for name, drift in report.drift.items():
        assert recorded[name].rms == pytest.approx(drift.rms, rel=1e-5)
        assert len(drift.quarters) == 4
        assert 0 < drift.relative < 0.05
    one = rnnport.load(stream, device="cpu").stream()
    other = rnnport.load(tmp_path / "twin.onnx", device="cpu").stream()
    x = np.random.default_rng(1).normal(size=(1, 1000, 24)).astype(np.float32)
    errors = one.push(x) - other.push(x)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(report.drift["scores"].rms, rel=0.3)


def test_the_twin_streams_infers_and_evaluates(stream, tmp_path):
    twin = tmp_path / "twin.onnx"
    rnnport.quantize(stream, twin)
    session = rnnport.load(twin, device="cpu")
    x = np.random.default_rng(1).normal(size=(2, 30, 24)).astype(np.float32)
    whole, running = session(x), session.stream(batch=2)
    steps = [running.push(x[:, [step]]) for step in range(30)]
    np.testing.assert_allclose(np.concatenate(steps, 1), whole, rtol=1e-5, atol=1e-5)
    np.save(tmp_path / "x.npy", x)
    told = CliRunner().invoke(app, ["infer", str(twin), "--input", str(tmp_path / "x.npy")])
    assert told.exit_code == 0


def test_each_layer_alone_strays_less_than_all_together(stream, tmp_path):
    report = rnnport.quantize(stream, tmp_path / "twin.onnx")
    assert {each.node for each in report.sensitivity} == {
        account.node for account in report.nodes if account.op == "GRU"
    }
    values = [each.relative for each in report.sensitivity]
    assert values == sorted(values, reverse=True)
    assert min(values) > 0
    for each in report.sensitivity:
        assert each.relative <= 1.2 * report.drift[each.output].relative


def test_a_kept_layer_is_left_out_of_the_sensitivity(stream, tmp_path):
    everything = rnnport.quantize(stream, tmp_path / "all.onnx")
    worst = everything.sensitivity[0].node
    report = rnnport.quantize(stream, tmp_path / "kept.onnx", keep=[worst])
    assert worst not in {each.node for each in report.sensitivity}
    assert report.bytes_after > everything.bytes_after
    assert report.drift["scores"].rms < everything.drift["scores"].rms


def test_the_same_file_gives_the_same_twin(stream, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        rnnport.quantize(stream, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_the_task_is_measured_before_and_after(labelled, tmp_path):
    path, data = labelled
    report = rnnport.quantize(path, tmp_path / "twin.onnx", evaluate=data, split="all")
    assert report.judgement.before["accuracy"] > 0.98
    assert report.judgement.agreement > 0.95
    drop = report.judgement.before["accuracy"] - report.judgement.after["accuracy"]
    assert report.judgement.drop == pytest.approx(drop)
    assert any("decisions equal" in line for line in report.lines())
    told = read_spec(tmp_path / "twin.onnx").quantization
    assert told["evaluation"]["measure"] == "accuracy"
    assert told["evaluation"]["before"] == report.judgement.before["accuracy"]
    assert told["evaluation"]["agreement"] == report.judgement.agreement
    assert told["sensitivity"][0]["node"] == report.sensitivity[0].node
    assert any("differ from that by at most 0.001" in note for note in report.notes)


def test_a_missed_budget_fails_the_run_and_writes_nothing(labelled, tmp_path, monkeypatch):
    path, data = labelled
    twin = tmp_path / "twin.onnx"
    monkeypatch.setattr("rnnport.graph.quantize.small.LEVELS", 1)  # three values a weight
    result = command(path, "-o", twin, "--evaluate", data, "--split", "all", "--max-drop", "0.5%")
    assert result.exit_code == 1
    assert "accuracy fell by" in result.stdout
    assert "--max-drop allows 0.5; nothing was written" in result.stdout
    assert "function rnnport.LSTMInt8" in result.stdout  # the account is given all the same
    assert not twin.exists()


def test_a_budget_that_holds_writes_the_twin(labelled, tmp_path):
    path, data = labelled
    twin = tmp_path / "twin.onnx"
    result = command(path, "-o", twin, "--evaluate", data, "--max-drop", "10%", "--split", "all")
    assert result.exit_code == 0
    assert "note  the twin is larger than its parent" in result.stdout  # of 200 weights
    assert twin.exists()


def test_without_data_the_account_says_that_accuracy_was_not_measured(stream, tmp_path):
    result = command(stream, "-o", tmp_path / "twin.onnx")
    assert result.exit_code == 0
    assert "not measured: --evaluate DATA does" in result.stdout
    assert "measuring the drift" in result.stderr


def test_json_is_one_document_with_the_whole_account(stream, tmp_path):
    result = command(stream, "-o", tmp_path / "twin.onnx", "--json")
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert document["ok"] is True
    assert document["evaluation"] is None
    assert {node["stored"] for node in document["nodes"]} == {"int8"}
    assert set(document["drift"]["scores"]) >= {"rms", "max", "quarters"}


def test_the_report_is_one_page_with_its_plots(stream, tmp_path):
    page = tmp_path / "report.html"
    result = command(stream, "-o", tmp_path / "twin.onnx", "--report", page)
    assert result.exit_code == 0
    text = page.read_text()
    assert text.count("<svg") == 3
    for account in json.loads(command(stream, "-o", tmp_path / "again.onnx", "--json").stdout)[
        "nodes"
    ]:
        assert account["node"] in text
    assert "src=" not in text
    assert "http:" not in text.replace("http://www.w3.org", "")


def test_a_foreign_files_states_are_recognised_and_its_twin_streams(tmp_path):
    path = save(recurrent("LSTM", states=states_of("LSTM")), tmp_path / "foreign.onnx")
    report = rnnport.quantize(path, tmp_path / "twin.onnx")
    assert any("states recognised: h0 → hn, c0 → cn" in note for note in report.notes)
    spec = read_spec(tmp_path / "twin.onnx")
    assert [(state.input, state.output) for state in spec.states] == [("h0", "hn"), ("c0", "cn")]
    running = rnnport.load(tmp_path / "twin.onnx", device="cpu").stream()
    assert running.push(np.ones((1, 1, 3), np.float32)).shape == (1, 1, 1, 4)


def test_calibration_data_set_ranges_and_are_named_in_the_file(tmp_path, stream):
    x = np.random.default_rng(2).normal(size=(40, 30, 24)).astype(np.float32)
    np.save(tmp_path / "some.npy", x)
    report = rnnport.quantize(stream, tmp_path / "twin.onnx", calibrate=str(tmp_path / "some.npy"))
    assert {account.form for account in report.nodes if account.op == "MatMul"} == {"static QDQ"}
    told = read_spec(tmp_path / "twin.onnx").quantization["calibrated_on"]
    assert told["name"] == "some.npy"
    assert told["sha256"] == hashlib.sha256((tmp_path / "some.npy").read_bytes()).hexdigest()


def test_calibration_data_that_do_not_fit_are_refused(stream, tmp_path):
    wide = np.zeros((4, 30, 25), np.float32)
    np.save(tmp_path / "wide.npy", wide)
    with pytest.raises(DataError, match="have 25 features a step; the model takes 24"):
        rnnport.quantize(stream, tmp_path / "t.onnx", calibrate=str(tmp_path / "wide.npy"))
    hole = np.zeros((4, 30, 24), np.float32)
    hole[2, 7, 1] = np.nan
    np.save(tmp_path / "hole.npy", hole)
    with pytest.raises(DataError, match="sequence 2 has a value at step 7"):
        rnnport.quantize(stream, tmp_path / "t.onnx", calibrate=str(tmp_path / "hole.npy"))
    assert not (tmp_path / "t.onnx").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--precision", "int4"], "no precision 'int4'; there are int8, fp16, bf16"),
        (["--target", "tpu"], "no target 'tpu'"),
        (["--precision", "fp16", "--target", "ort-cpu"], "no float16 LSTM, GRU or RNN"),
        (["--keep", "GRU_9"], "--keep GRU_9: the model has no such node"),
        (["--max-drop", "0.5"], "expected a percentage such as 0.5%"),
        (["--max-drop", "half"], "expected a percentage such as 0.5%"),
        (["--max-drop", "0.5%"], "--evaluate DATA"),
        (["--max-drop", "-1%", "--evaluate", "digits"], "--max-drop is -1%"),
        (["--max-drop", "100%", "--evaluate", "digits"], "--max-drop is 100%"),
        (["--max-drop", "nan%", "--evaluate", "digits"], "expected a percentage"),
        (["--precision", "bf16", "--calibrate", "digits"], "ranges for int8; bf16 has none"),
        (["--precision", "fp16", "--inline"], "plain operators already"),
    ],
)
def test_a_wrong_request_is_exit_2_and_leaves_nothing(stream, tmp_path, options, reason):
    twin = tmp_path / "twin.onnx"
    before = stream.read_bytes()
    result = command(stream, "-o", twin, *options)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not twin.exists()
    assert stream.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx"]


def test_the_input_and_what_is_there_are_not_replaced(stream, tmp_path):
    with pytest.raises(RequestError, match="is the input"):
        rnnport.quantize(stream, stream, overwrite=True)
    twin = tmp_path / "twin.onnx"
    twin.write_bytes(b"mine")
    with pytest.raises(RequestError, match="--overwrite"):
        rnnport.quantize(stream, twin)
    assert twin.read_bytes() == b"mine"


def test_nothing_quantized_is_exit_1_with_every_reason(stream, tmp_path):
    labels = [node.name for node in onnx.load(stream).graph.node]
    keep = [word for name in labels for word in ("--keep", name)]
    result = command(stream, "-o", tmp_path / "twin.onnx", *keep)
    assert result.exit_code == 1
    assert "nothing was quantized" in result.stderr
    assert "kept, as asked" in result.stderr
    assert not (tmp_path / "twin.onnx").exists()
    with pytest.raises(CheckFailedError):
        rnnport.quantize(stream, tmp_path / "twin.onnx", keep=labels)


@pytest.mark.parametrize("options", [[], ["--inline"], ["--precision", "bf16"]])
def test_quantizing_twice_is_refused(stream, tmp_path, options):
    twin = tmp_path / "twin.onnx"
    assert command(stream, "-o", twin, *options).exit_code == 0
    result = command(twin, "-o", tmp_path / "again.onnx")
    assert result.exit_code == 2
    assert "is quantized already: its metadata say" in result.stderr
    assert not (tmp_path / "again.onnx").exists()
    bare = onnx.load(twin)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    result = command(tmp_path / "bare.onnx", "-o", tmp_path / "again.onnx")
    assert result.exit_code == 2
    assert "is quantized already: " in result.stderr


def test_a_twin_verifies_against_its_parent_and_passes_check(stream, tmp_path):
    twin = tmp_path / "twin.onnx"
    rnnport.quantize(stream, twin)
    outcome = rnnport.verify(twin, stream)
    assert outcome.ok
    assert outcome.lossy
    assert CliRunner().invoke(app, ["check", str(twin)]).exit_code == 0
    told = CliRunner().invoke(app, ["inspect", str(twin)])
    assert told.exit_code == 0
    assert "int8" in told.stdout


def test_check_asks_of_a_float16_twin_what_a_gpu_would(stream, tmp_path):
    twin = tmp_path / "twin.onnx"
    rnnport.quantize(stream, twin, precision="fp16")
    assert CliRunner().invoke(app, ["check", str(twin)]).exit_code == 0
    on_cpu = CliRunner().invoke(app, ["check", str(twin), "--target", "ort-cpu"])
    assert on_cpu.exit_code == 1
    assert "RNN304" in on_cpu.stdout


def test_a_damaged_file_is_exit_3(tmp_path):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"\x08\x07not a model")
    assert command(path, "-o", tmp_path / "twin.onnx").exit_code == 3
    assert command(tmp_path / "none.onnx", "-o", tmp_path / "twin.onnx").exit_code == 2


def test_an_output_that_holds_the_inputs_weights_is_refused(tmp_path):
    path, weights = tmp_path / "model.onnx", tmp_path / "weights.bin"
    made = build(Shape("GRU", hidden=32))
    onnx.save(made, path, save_as_external_data=True, location=weights.name, size_threshold=0)
    before = weights.read_bytes()
    result = command(path, "-o", weights, "--overwrite")
    assert result.exit_code == 2
    assert "is the input" in result.stderr
    assert weights.read_bytes() == before


def test_a_report_in_the_twins_own_place_is_refused_before_any_work(stream, tmp_path):
    twin = tmp_path / "twin.onnx"
    result = command(stream, "-o", twin, "--report", tmp_path / "." / "twin.onnx", "--overwrite")
    assert result.exit_code == 2
    assert "are one file" in result.stderr
    assert not twin.exists()


def test_a_folder_in_the_models_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command(".")
    assert result.exit_code == 2
    assert "is a folder" in result.stderr


def test_what_a_runtime_refuses_is_told_of_the_given_file(tmp_path):
    path = tmp_path / "batchwise.onnx"
    save(recurrent("LSTM", layout=1), path)
    result = command(path, "-o", tmp_path / "twin.onnx")
    assert result.exit_code == 3
    assert f"does not accept {path}: " in result.stderr
    assert not (tmp_path / "twin.onnx").exists()


def test_the_report_shows_names_that_look_like_formulas(stream, tmp_path):
    model = onnx.load(stream)
    next(n for n in model.graph.node if n.op_type == "GRU").name = r"a$\frac$层"
    onnx.save(model, stream)
    page = tmp_path / "report.html"
    assert command(stream, "-o", tmp_path / "twin.onnx", "--report", page).exit_code == 0
    assert "<svg" in page.read_text(encoding="utf-8")


def test_bfloat16_is_refused_for_an_opset_before_it(tmp_path):
    model = build(Shape("GRU", hidden=32))
    model.opset_import[0].version = 11
    onnx.save(model, tmp_path / "old.onnx")
    result = command(tmp_path / "old.onnx", "--precision", "bf16")
    assert result.exit_code == 2
    assert "the file has opset 11, and bfloat16 came with opset 13" in result.stderr


def test_calibration_data_without_a_sequence_are_refused(stream, tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 9, 24), np.float32))
    result = command(stream, "-o", tmp_path / "twin.onnx", "--calibrate", tmp_path / "none.npy")
    assert result.exit_code == 2
    assert "holds no sequence" in result.stderr
    assert not (tmp_path / "twin.onnx").exists()


def test_calibration_that_set_no_range_is_told_and_not_recorded(tmp_path):
    path, twin = tmp_path / "model.onnx", tmp_path / "twin.onnx"
    onnx.save(build(Shape("GRU", hidden=32, features=24, classes=2)), path)
    np.save(tmp_path / "x.npy", np.ones((2, 9, 24), np.float32))
    result = command(path, "-o", twin, "--calibrate", tmp_path / "x.npy")
    assert result.exit_code == 0
    assert "x.npy set no range" in result.stdout
    assert read_spec(twin).quantization["calibrated_on"] is None


def test_a_model_over_2_gb_is_refused_by_its_size(tmp_path):
    path, weights = tmp_path / "model.onnx", tmp_path / "weights.bin"
    made = build(Shape("GRU", hidden=32))
    onnx.save(made, path, save_as_external_data=True, location=weights.name, size_threshold=0)
    with weights.open("r+b") as file:
        file.truncate(2**31)  # sparse: it takes no room
    result = command(path)
    assert result.exit_code == 2
    assert "over 2 GB of weights" in result.stderr
