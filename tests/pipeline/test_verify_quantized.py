"""Verifying quantized files: by decisions and drift, and strictly against themselves."""

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from recurrent_files import Shape, build, spec_of
from small_models import classifier
from typer.testing import CliRunner

import rnnport
from rnnport.cli.main import app
from rnnport.errors import RequestError
from rnnport.graph.annotate import write_spec
from rnnport.graph.quantize.rewriting import with_small_weights
from rnnport.parity.cases import drift_cases
from rnnport.parity.drift import measure_drift, to_record
from rnnport.pipeline.quantize import quantize as quantize_file
from rnnport.runtime.engine import open_engine
from rnnport.runtime.metadata import read_spec

SHAPE = Shape("LSTM", stream=True, lengths=True, hidden=16)


def command(*arguments):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


def quantize(parent, path, precision="int8", inline=False, record=True):
    """Write a small twin with an account of what it costs."""
    small, accounts = with_small_weights(onnx.load(parent), precision, inline=inline)
    onnx.save(small, path)
    if record:
        spec = read_spec(parent)
        sides = (open_engine("ort-cpu", str(each)) for each in (parent, path))
        drift = to_record(measure_drift(*sides, drift_cases(spec)))
        nodes = [asdict(each) for each in accounts]
        account = {"precision": precision, "nodes": nodes, "drift": drift}
        write_spec(small, replace(spec, quantization=account))
        onnx.save(small, path)
    return path


def damage(path, name, factor):
    """Multiply an initializer, as a broken kernel or a cut file would."""
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, name))
    onnx.save(model, path)


@pytest.fixture
def parent(tmp_path):
    onnx.save(build(SHAPE), tmp_path / "a.onnx")
    return tmp_path / "a.onnx"


@pytest.fixture
def decider(tmp_path):
    return classifier(tmp_path / "a.onnx", "GRU", lengths=True)


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_quantized_file_is_judged_by_the_drift_that_it_records(
    parent, tmp_path, precision, inline
):
    small = quantize(parent, tmp_path / "small.onnx", precision, inline)
    outcome = rnnport.verify(small, parent)
    assert outcome.ok
    (report,) = outcome.reports
    assert set(report.loss.drift) == {t.name for t in spec_of(SHAPE).outputs}
    assert all(0.0 < drift.relative < 0.05 for drift in report.loss.drift.values())
    assert {item.way for item in report.comparisons} == {"whole", "chunked", "alone"}
    assert report.largest < 1e-5  # against itself
    assert outcome.verdict().startswith("ok: ")
    assert "stays as near to" in outcome.verdict()


def test_a_file_that_strays_further_than_it_records_fails(parent, tmp_path):
    small = quantize(parent, tmp_path / "small.onnx")
    damage(small, "R.0.scale", np.float32(1.05))
    result = command(small, "--against", parent)
    assert result.exit_code == 1
    assert "scores: its RMS error is" in result.stdout
    assert "--max-drift-ratio 1.5" in result.stdout
    assert "strays too far from" in result.stdout
    assert command(small, "--against", parent, "--max-drift-ratio", "1000").exit_code == 0


def test_one_wrong_element_is_seen_in_the_largest_error(parent, tmp_path):
    small = quantize(parent, tmp_path / "small.onnx")
    spec = read_spec(small)
    drift = dict(spec.quantization["drift"])
    drift["scores"] = drift["scores"] | {"max": drift["scores"]["max"] / 10}
    model = onnx.load(small)
    write_spec(model, replace(spec, quantization=spec.quantization | {"drift": drift}))
    onnx.save(model, small)
    result = command(small, "--against", parent)
    assert result.exit_code == 1
    assert "scores: its largest error is" in result.stdout


def test_decisions_that_change_fail_whatever_the_drift(decider, tmp_path):
    small = quantize(decider, tmp_path / "small.onnx")
    good = command(small, "--against", decider)
    assert good.exit_code == 0
    assert "100.00% of " in good.stdout
    damage(small, "R.scale", np.float32(-1))
    bad = command(small, "--against", decider, "--max-drift-ratio", "1e9")
    assert bad.exit_code == 1
    assert "decisions agree; at least 99% must (--min-agreement)" in bad.stdout
    options = ("--max-drift-ratio", "1e9", "--min-agreement", "0.1")
    assert command(small, "--against", decider, *options).exit_code == 0


def test_an_output_without_a_record_fails(parent, tmp_path):
    small = quantize(parent, tmp_path / "small.onnx")
    model, spec = onnx.load(small), read_spec(small)
    drift = {k: v for k, v in spec.quantization["drift"].items() if k != "scores"}
    write_spec(model, replace(spec, quantization=spec.quantization | {"drift": drift}))
    onnx.save(model, small)
    result = command(small, "--against", parent)
    assert result.exit_code == 1
    assert "scores: the file records no drift of it" in result.stdout


def test_nan_is_no_drift(parent, tmp_path):
    small = quantize(parent, tmp_path / "small.onnx")
    damage(small, "head", np.float32(np.nan))
    result = command(small, "--against", parent)
    assert result.exit_code == 1
    assert "the candidate answers NaN" in result.stdout


def test_another_shape_is_no_drift(parent, tmp_path):
    small = quantize(parent, tmp_path / "small.onnx")
    model = onnx.load(small)
    model.graph.node[-1].output[0] = "wide"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    model.graph.node.append(helper.make_node("Unsqueeze", ["wide", "first"], ["scores"]))
    scores = next(each for each in model.graph.output if each.name == "scores")
    scores.CopyFrom(helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, "b", "t", 2]))
    onnx.save(model, small)
    result = command(small, "--against", parent)
    assert result.exit_code == 1
    assert "shape [1, 4, 20, 2] instead of [4, 20, 2]" in result.stdout


def test_a_quantized_file_must_equal_its_inlined_form(parent, tmp_path, monkeypatch):
    """Both are the same computation, unless kernels take one of them: nothing is excused."""
    monkeypatch.setenv("RNNPORT_NATIVE", "off")
    calls = quantize(parent, tmp_path / "calls.onnx")
    inlined = quantize(parent, tmp_path / "inlined.onnx", inline=True)
    outcome = rnnport.verify(inlined, calls)
    assert outcome.ok
    assert outcome.reports[0].loss is None
    damage(inlined, "R.0.scale", np.float32(1.001))
    assert not rnnport.verify(inlined, calls).ok


def test_another_file_than_its_parent_is_told(parent, tmp_path):
    small = quantize(parent, tmp_path / "small.onnx")
    model, spec = onnx.load(small), read_spec(small)
    write_spec(model, replace(spec, provenance={"parent_sha256": "0" * 64}))
    onnx.save(model, small)
    assert "was made from another than" in command(small, "--against", parent).stdout
    own = hashlib.sha256(parent.read_bytes()).hexdigest()
    write_spec(model, replace(spec, provenance={"parent_sha256": own}))
    onnx.save(model, small)
    assert "was made from another than" not in command(small, "--against", parent).stdout


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp16"])
def test_what_quantize_writes_verifies(parent, tmp_path, precision):
    small = tmp_path / "small.onnx"
    quantize_file(parent, small, precision=precision)
    outcome = rnnport.verify(small, parent)
    assert outcome.ok, str(outcome)
    assert outcome.reports[0].loss.recorded
    assert not outcome.reports[0].notes


def test_an_engine_that_refuses_short_rows_is_judged_by_the_full_ones(tmp_path):
    path, twin = tmp_path / "parent.onnx", tmp_path / "twin.onnx"
    onnx.save(build(Shape("GRU", lengths=True, hidden=16)), path)
    quantize_file(path, twin)
    outcome = rnnport.verify(twin, path, engines=["reference"])
    assert outcome.ok
    told = "\n".join(line for report in outcome.reports for line in report.lines())
    assert "cases of the drift are refused: the reference evaluator ignores lengths" in told


def test_two_precisions_are_judged_as_lossy(parent, tmp_path):
    one = quantize(parent, tmp_path / "int8.onnx")
    other = quantize(parent, tmp_path / "bf16.onnx", "bf16")
    assert rnnport.verify(one, other, max_drift_ratio=3.0).reports[0].loss is not None


def test_the_parent_against_its_quantized_file_is_the_same_question(parent, tmp_path):
    small = quantize(parent, tmp_path / "small.onnx")
    outcome = rnnport.verify(parent, small)
    assert outcome.ok
    assert outcome.reports[0].loss.what.startswith("the other: its metadata say")


def test_a_foreign_classifier_is_judged_by_its_decisions_alone(decider, tmp_path):
    quantize_dynamic(decider, tmp_path / "small.onnx", weight_type=QuantType.QInt8)
    result = command(tmp_path / "small.onnx", "--against", decider)
    assert result.exit_code == 0, result.stdout
    assert "alone: the file records no drift" in result.stdout


def test_padding_that_changes_an_answer_fails_however_small_the_drift(tmp_path):
    onnx.save(build(Shape("GRU", lengths=True, hidden=16)), tmp_path / "a.onnx")
    small = quantize(tmp_path / "a.onnx", tmp_path / "small.onnx")
    model = onnx.load(small)
    last = next(n for n in model.graph.node if "last" in n.output)
    last.output[0] = "clean"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e-4), "little"))
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "little"], ["leak"]),
            helper.make_node("Add", ["clean", "leak"], ["last"]),
        ]
    )
    onnx.save(model, small)
    (report,) = rnnport.verify(small, tmp_path / "a.onnx").reports
    assert report.loss.ok
    assert {item.way for item in report.failures} == {"alone"}


def test_answers_that_depend_on_batch_mates_are_told_of_a_foreign_file(tmp_path):
    """ONNX Runtime's int8 LSTM takes one scale for all rows."""
    path = classifier(tmp_path / "a.onnx", "LSTM", lengths=True)
    quantize_dynamic(path, tmp_path / "small.onnx", weight_type=QuantType.QInt8)
    (report,) = rnnport.verify(tmp_path / "small.onnx", path).reports
    assert "DynamicQuantizeLSTM" in report.loss.what
    assert any(
        note.startswith("its answers depend on more than its input") for note in report.notes
    )


def test_a_lossy_file_with_nothing_to_judge_it_by_is_held_to_every_element(parent, tmp_path):
    small = quantize(parent, tmp_path / "small.onnx", record=False)
    result = command(small, "--against", parent)
    assert result.exit_code == 1
    assert "records no drift and decides nothing" in result.stdout
    assert command(small, "--against", parent, "--atol", "0.5").exit_code == 0


def test_json_and_the_page_hold_the_judgement(parent, tmp_path):
    small = quantize(parent, tmp_path / "small.onnx")
    page = tmp_path / "report.html"
    result = command(small, "--against", parent, "--json", "--report", page)
    (report,) = json.loads(result.stdout)["reports"]
    assert report["ok"]
    assert report["loss"]["limits"] == {"min_agreement": 0.99, "max_drift_ratio": 1.5}
    recorded, drift = report["loss"]["recorded"], report["loss"]["drift"]
    assert drift["scores"]["rms"] == pytest.approx(recorded["scores"]["rms"], rel=1e-3)
    assert len(drift["next.rnn.0.h"]["quarters"]) == 4
    assert "The file against itself" in page.read_text()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--min-agreement", "101%"),
        ("--min-agreement", "most"),
        ("--min-agreement", "nan"),
        ("--max-drift-ratio", "0.5"),
        ("--max-drift-ratio", "nan"),
    ],
)
def test_an_impossible_limit_is_a_wrong_request(parent, option, value):
    result = command(parent, "--against", parent, option, value)
    assert result.exit_code == 2
    assert option in result.stderr
    with pytest.raises(RequestError):
        rnnport.verify(parent, parent, min_agreement=-1.0)


@pytest.mark.parametrize("inline", [False, True])
def test_every_engine_judges_or_refuses(tmp_path, inline):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    onnx.save(build(Shape("GRU", hidden=16)), tmp_path / "a.onnx")
    small = quantize(tmp_path / "a.onnx", tmp_path / "small.onnx", inline=inline)
    engines = ("ort-cpu", "reference", "openvino")
    outcome = rnnport.verify(small, tmp_path / "a.onnx", engines=engines)
    by_name = {report.candidate: report for report in outcome.reports}
    assert by_name["ort-cpu"].ok
    assert by_name["reference"].ok
    assert by_name["openvino"].ok == inline
    if not inline:
        assert "rnnport quantize --inline" in by_name["openvino"].refusals[0].reason
