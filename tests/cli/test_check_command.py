"""rnnport check and rnnport annotate as a person calls them: output, exit codes, files."""

import json

import onnx
import pytest
from graph_models import by_torch, recurrent, save, states_of
from typer.testing import CliRunner

from rnnport.cli.main import app
from rnnport.graph.check.table import RULES

runner = CliRunner()


def call(*arguments):
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def faulty(tmp_path):
    made = by_torch(recurrent("GRU", linear_before_reset=0, batch=2, time=5))
    return save(made, tmp_path / "faulty.onnx")


@pytest.fixture
def healthy(tmp_path):
    return save(recurrent("GRU"), tmp_path / "healthy.onnx")


def test_findings_are_printed_one_a_line_and_exit_1(faulty, healthy):
    result = call("check", healthy, faulty)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"{faulty}: RNN001 error [gru]: PyTorch's exporter (pytorch 2.10.0)")
    assert lines[0].endswith("(--fix)")
    assert "2 files checked: 5 found, 5 can be repaired" in result.stderr


def test_a_healthy_file_exits_0_and_prints_nothing(healthy):
    result = call("check", healthy)
    assert (result.exit_code, result.stdout) == (0, "")


def test_json_is_one_document(faulty):
    result = call("check", faulty, "--json", "--select", "RNN001")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["schema_version"] == 1
    (finding,) = document["files"][0]["findings"]
    assert finding["rule"] == "RNN001"
    assert finding["severity"] == "error"
    assert finding["node"] == "gru"
    assert finding["fixable"] is True


def test_rules_are_selected_and_ignored_by_id_or_beginning(faulty):
    assert call("check", faulty, "--select", "RNN3").exit_code == 0
    assert call("check", faulty, "--ignore", "RNN0,RNN1").exit_code == 0
    assert call("check", faulty, "--ignore", "RNN103").exit_code == 1
    result = call("check", faulty, "--select", "XYZ")
    assert result.exit_code == 2
    assert "there is no rule 'XYZ'" in result.stderr


def test_targets_ask_for_more(faulty):
    result = call("check", faulty, "--target", "ort-cuda", "--select", "RNN302")
    assert result.exit_code == 1
    assert "linear_before_reset is 0" in result.stdout
    result = call("check", faulty, "--target", "toaster")
    assert result.exit_code == 2
    assert "there are ort-cpu, ort-cuda" in result.stderr


def test_fix_writes_a_clean_file_and_leaves_the_input_alone(faulty, tmp_path):
    before, output = faulty.read_bytes(), tmp_path / "fixed.onnx"
    result = call("check", faulty, "--fix", "-o", output)
    assert result.exit_code == 0, result.stderr
    assert "RNN001 repaired (1): the answers change, as they must" in result.stdout
    assert faulty.read_bytes() == before
    assert call("check", output).exit_code == 0
    onnx.checker.check_model(onnx.load(output), full_check=True)
    again = call("check", faulty, "--fix", "-o", output)
    assert again.exit_code == 2
    assert "--overwrite replaces it" in again.stderr
    assert call("check", faulty, "--fix", "-o", output, "--overwrite").exit_code == 0


def test_fix_as_json_names_repairs_and_what_is_left(faulty, tmp_path):
    output = tmp_path / "fixed.onnx"
    result = call("check", faulty, "--fix", "-o", output, "--json")
    document = json.loads(result.stdout)
    assert document["output"] == str(output)
    assert [step["rule"] for step in document["repairs"]] == ["RNN001", "RNN103"]
    assert document["left"] == []


def test_fix_with_nothing_to_repair_writes_nothing(healthy, tmp_path):
    result = call("check", healthy, "--fix", "-o", tmp_path / "fixed.onnx")
    assert result.exit_code == 0
    assert "nothing repaired, nothing written" in result.stderr
    assert not (tmp_path / "fixed.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no file was given"),
        (["FAULTY", "--fix"], "--fix needs -o"),
        (["FAULTY", "-o", "x.onnx"], "give --fix as well"),
        (["FAULTY", "FAULTY", "--fix", "-o", "x.onnx"], "one file at a time"),
        (["FAULTY", "--fix", "-o", "FAULTY"], "is the input itself"),
        (["missing.onnx"], "does not exist"),
        (["--explain", "RNN999"], "there is no rule 'RNN999'"),
    ],
)
def test_a_wrong_request_exits_2_with_what_was_expected(arguments, says, faulty):
    result = call("check", *(faulty if each == "FAULTY" else each for each in arguments))
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unreadable_file_exits_3(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x08garbage")
    result = call("check", tmp_path / "bad.onnx")
    assert result.exit_code == 3
    assert "bad.onnx" in result.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_explains_itself(rule):
    result = call("check", "--explain", rule.id.lower())
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{rule.id} ({rule.severity.value}): {rule.title}")
    assert "Repair: " in result.stdout
    assert (rule.repair is None) == ("not by --fix" in rule.remedy)


def test_rule_ids_are_unique_and_of_one_form():
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert all(each.startswith("RNN") and len(each) == 6 for each in ids)


def test_annotate_says_what_it_recognised(tmp_path):
    path = save(recurrent("LSTM", states=states_of("LSTM")), tmp_path / "foreign.onnx")
    output = tmp_path / "annotated.onnx"
    result = call("annotate", path, "-o", output)
    assert result.exit_code == 0, result.stderr
    assert "state h0 → hn [1, 'batch', 4] (recognised)" in result.stdout
    assert call("check", output).exit_code == 0
    result = call("annotate", path, "-o", output, "--overwrite", "--json")
    document = json.loads(result.stdout)
    assert [state["input"] for state in document["spec"]["states"]] == ["h0", "c0"]


@pytest.mark.parametrize(
    ("states", "says"),
    [(["h0"], "expected INPUT=OUTPUT"), (["h0=hn", "h0=cn"], "twice"), (["h=hn"], "nearest")],
)
def test_annotate_refuses_what_is_no_pair(states, says, tmp_path):
    path = save(recurrent("LSTM", states=states_of("LSTM")), tmp_path / "foreign.onnx")
    options = [part for state in states for part in ("--state", state)]
    result = call("annotate", path, "-o", tmp_path / "out.onnx", *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "out.onnx").exists()
