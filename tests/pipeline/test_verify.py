"""Verifying a file against a run and against another file, on the engines that are there."""

import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper
from recurrent_files import Shape, build, spec_of
from typer.testing import CliRunner

import rnnport
from rnnport.cli.main import app
from rnnport.errors import MissingExtraError, RequestError
from rnnport.pipeline import verify as pipeline
from rnnport.pipeline.quantize import quantize
from rnnport.spec import METADATA_KEY, TimeSpec

SHAPE = Shape("GRU", lengths=True, stream=True)


@pytest.fixture
def files(tmp_path):
    """A file, its equal, and one with other weights."""
    for name, shape in {"a": SHAPE, "b": SHAPE, "other": replace(SHAPE, seed=1)}.items():
        onnx.save(build(shape), tmp_path / f"{name}.onnx")
    return tmp_path


def command(*arguments):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


def test_a_file_equals_itself_on_every_engine(files):
    pytest.importorskip("openvino")
    outcome = rnnport.verify(
        files / "a.onnx", files / "b.onnx", engines=("ort-cpu", "reference", "openvino")
    )
    assert outcome.ok
    assert [report.candidate for report in outcome.reports] == ["ort-cpu", "reference", "openvino"]
    assert outcome.reports[1].refusals  # rows shorter than their padding
    assert outcome.facts["seed"] == 0
    assert len(outcome.facts["model_sha256"]) == 64


def test_other_weights_are_another_model(files):
    result = command(files / "a.onnx", "--against", files / "other.onnx")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "would have passed with --atol" in result.stdout


def test_one_line_for_each_group_of_cases(files):
    result = command(files / "a.onnx", "--against", files / "b.onnx")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("  ok ")]
    assert len(lines) == 10
    assert result.stdout.splitlines()[-1].startswith("ok: ")


def test_json_is_one_document(files):
    result = command(files / "a.onnx", "--against", files / "other.onnx", "--json")
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert document["ok"] is False
    report = document["reports"][0]
    assert report["worst"]["worst"]["error"] > report["worst"]["worst"]["bound"]
    assert {group["verdict"] for group in report["groups"]} == {"FAILED", "ok"}


def test_a_looser_tolerance_passes_what_a_tight_one_does_not(files):
    outcome = pipeline.verify(files / "a.onnx", files / "other.onnx")
    needed = outcome.reports[0].needed_atol
    assert pipeline.verify(files / "a.onnx", files / "other.onnx", atol=needed * 1.01).ok


def test_the_report_is_one_page_that_needs_no_network(files, tmp_path):
    page = tmp_path / "report.html"
    result = command(files / "a.onnx", "--against", files / "other.onnx", "--report", page)
    assert result.exit_code == 1
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "first beyond its bound at step" in text
    assert not any(word in text for word in ("<script", "<link", "src=", "@import", "url(http"))


def test_a_report_that_the_disk_has_no_room_for_loses_no_outcome(files, tmp_path):
    resource = pytest.importorskip("resource", reason="no limit on the size of a file")
    page = tmp_path / "report.html"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # bytes
    try:
        done = command(files / "a.onnx", "--against", files / "b.onnx", "--report", page)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.exit_code == 3
    assert "report.html could not be written" in done.stderr
    assert "ok:" in done.stdout
    assert not list(tmp_path.glob("*report*"))


def test_a_verification_prints_as_its_lines(files):
    outcome = rnnport.verify(files / "a.onnx", files / "b.onnx")
    assert str(outcome).splitlines() == list(outcome.lines())
    assert str(outcome).endswith(outcome.verdict())


def test_an_existing_report_is_refused_before_any_work(files, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("mine")
    result = command(files / "a.onnx", "--against", files / "none.onnx", "--report", page)
    assert result.exit_code == 2
    assert "--overwrite replaces it" in result.stderr
    assert page.read_text() == "mine"


def test_a_missing_engine_is_named_after_the_others_ran(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "rnnport.runtime.openvino", raising=False)
    arguments = (files / "a.onnx", "--against", files / "b.onnx", "--engine", "openvino")
    result = command(*arguments, "--engine", "ort-cpu")
    assert result.exit_code == 3
    assert "openvino did not run: the engine 'openvino' needs the package" in result.stdout
    assert "ort-cpu against ort-cpu" in result.stdout
    assert "INCOMPLETE" in result.stdout
    alone = command(*arguments, "--json")
    assert alone.exit_code == 3
    assert json.loads(alone.stdout)["ok"] is False


def test_an_engine_that_cannot_run_the_file_has_proven_nothing(tmp_path):
    path = tmp_path / "relu.onnx"
    onnx.save(build(Shape("RNN", activations=("Relu",))), path)
    result = command(path, "--against", path, "--engine", "reference")
    assert result.exit_code == 1
    assert "nothing was compared, and that is a failure" in result.stdout
    assert "ignores activations" in result.stdout


def test_files_without_metadata_are_compared_by_their_graphs(tmp_path):
    path = tmp_path / "foreign.onnx"
    onnx.save(build(SHAPE, metadata=False), path)
    report = pipeline.verify(path, path).reports[0]
    assert report.ok
    assert {item.case.batch for item in report.comparisons} == {1, 2, 7}
    assert any(item.case.ragged for item in report.comparisons)
    assert "without rnnport's metadata" in report.notes[0]


def test_a_file_with_metadata_is_compared_with_one_without(files):
    onnx.save(build(SHAPE, metadata=False), files / "foreign.onnx")
    outcome = pipeline.verify(files / "foreign.onnx", files / "a.onnx")
    assert outcome.ok
    assert any(item.way == "chunked" for item in outcome.reports[0].comparisons)


def test_a_watcher_sees_every_case(files):
    seen = {}

    def watch(engine, cases):
        for case in cases:
            seen.setdefault(engine, []).append(case)
            yield case

    outcome = pipeline.verify(files / "a.onnx", files / "b.onnx", watch=watch)
    assert len(seen["ort-cpu"]) == outcome.reports[0].cases


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("none.onnx", "--against", "a.onnx"), 2, "none.onnx does not exist"),
        (("a.onnx", "--against", "none.onnx"), 2, "expected a run folder, file.py:factory or an"),
        (("a.onnx", "--against", "cut.onnx"), 3, "was cut off"),
        (("cut.onnx", "--against", "a.onnx"), 3, "was cut off"),
        (("newer.onnx", "--against", "a.onnx"), 3, "pip install --upgrade rnnport"),
        (("a.onnx", "--against", "lstm.onnx"), 2, "cannot be compared with"),
        (("a.onnx", "--against", "a.onnx", "--engine", "ort"), 2, "unknown engine 'ort'; there"),
        (("a.onnx", "--against", "a.onnx", "--atol", "-1"), 2, "--atol is -1.0; expected"),
        (("a.onnx", "--against", "a.onnx", "--rtol", "nan"), 2, "--rtol is nan; expected"),
        (("a.onnx", "--against", "a.onnx", "--time", "0"), 2, "--time is 0; expected"),
        (("a.onnx", "--against", "a.onnx", "--report", "no/r.html"), 2, "does not exist"),
    ],
)
def test_bad_input_ends_in_one_clear_line(arguments, code, words, files, monkeypatch):
    monkeypatch.chdir(files)
    onnx.save(build(Shape("LSTM", lengths=True, stream=True)), "lstm.onnx")
    newer = build(SHAPE)
    text = spec_of(SHAPE).to_json().replace('"format_version": 1', '"format_version": 99')
    helper.set_model_props(newer, {METADATA_KEY: text})
    onnx.save(newer, "newer.onnx")
    (files / "cut.onnx").write_bytes((files / "a.onnx").read_bytes()[:200])
    before = sorted(files.iterdir())
    result = command(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert sorted(files.iterdir()) == before


def test_no_engine_is_a_wrong_request(files):
    with pytest.raises(RequestError, match="no engine was asked for"):
        pipeline.verify(files / "a.onnx", files / "b.onnx", engines=())


class TestAgainstARun:
    """The real way: a run folder, its module exported, PyTorch as the reference."""

    @pytest.fixture(params=["whole", "stream"])
    def run(self, request, tmp_path, monkeypatch):
        torch = pytest.importorskip("torch")
        from recurrent_modules import Tagger

        from rnnport.porting.export import export_module
        from rnnport.training import run as runs

        whole, stream = (Tagger(replace(SHAPE, stream=stream)) for stream in (False, True))
        whole.load_state_dict(stream.state_dict())
        example = {"x": torch.randn(3, 6, 3), "lengths": torch.tensor([6, 2, 6])}
        spec = spec_of(replace(SHAPE, stream=False))
        path = tmp_path / "model.onnx"
        streaming = request.param == "stream"
        export_module(
            stream if streaming else whole,
            (),
            path,
            kwargs=example,
            inputs=("x", "lengths"),
            outputs=("scores",) if streaming else ("scores", "last"),
            lengths="lengths",
            stream=streaming,
            verify=False,
        )
        if streaming:
            spec = replace(spec, outputs=spec.outputs[:1])
        folder = tmp_path / "run"
        folder.mkdir()
        trained = runs.TrainedRun(folder, whole, stream, example, spec)
        monkeypatch.setattr(runs, "load_run", lambda path: trained)
        return path, folder

    def test_the_exported_file_equals_pytorch(self, run):
        path, folder = run
        outcome = pipeline.verify(path, folder)
        assert outcome.ok, "\n".join(outcome.lines())
        report = outcome.reports[0]
        assert report.reference == "torch"
        assert {item.case.time for item in report.comparisons} == {1, 2, 6, 18}
        assert 0.0 < report.largest < 1e-5

    def test_a_quantized_file_is_judged_against_pytorch(self, run, tmp_path):
        path, folder = run
        quantize(path, tmp_path / "small.onnx")
        outcome = pipeline.verify(tmp_path / "small.onnx", folder)
        assert outcome.ok, str(outcome)
        (report,) = outcome.reports
        assert report.reference == "torch"
        scores, recorded = (each["scores"] for each in (report.loss.drift, report.loss.recorded))
        assert scores.rms == pytest.approx(recorded.rms, rel=1e-2)

    def test_a_damaged_bias_is_found(self, run):
        path, folder = run
        model = onnx.load(path)
        node = next(node for node in model.graph.node if node.op_type == "GRU")
        bias = next(t for t in model.graph.initializer if t.name == node.input[3])
        values = onnx.numpy_helper.to_array(bias).copy()
        values[0, 0] += np.float32(0.01)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save(model, path)
        outcome = pipeline.verify(path, folder)
        assert outcome.exit_code == 1
        assert outcome.reports[0].needed_atol < 0.1


def test_without_torch_a_run_cannot_be_the_reference(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rnnport\[train\]'"):
        pipeline.verify(files / "a.onnx", files)


def test_a_folder_that_is_no_run_is_refused(files):
    pytest.importorskip("lightning")
    result = command(files / "a.onnx", "--against", files)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


PROMISES = {
    "lengths": lambda spec: {"lengths": None},
    "time": lambda spec: {"time": TimeSpec(max=1)},
    "task": lambda spec: {"task": "classify", "classes": ("a", "b")},
    "input 'x'": lambda spec: {
        "inputs": (replace(spec.inputs[0], shape=(1, 1, 3)), *spec.inputs[1:])
    },
    "initial": lambda spec: {"states": tuple(replace(s, initial=0.7) for s in spec.states)},
}


@pytest.mark.parametrize("promise", PROMISES)
def test_a_right_graph_under_a_wrong_description_fails(files, promise):
    model = onnx.load(files / "a.onnx")
    spec = spec_of(SHAPE)
    edited = replace(spec, **PROMISES[promise](spec))
    (prop,) = (prop for prop in model.metadata_props if prop.key == METADATA_KEY)
    prop.value = edited.to_json()
    onnx.save(model, files / "edited.onnx")
    found = command(files / "edited.onnx", "--against", files / "b.onnx")
    assert found.exit_code in (1, 2)
    assert promise in found.output
