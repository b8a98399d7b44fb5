"""``rnnport doctor``: a report to read, one JSON document, and the exit code."""

import json

import pytest
from typer.testing import CliRunner

from rnnport.cli.main import app
from rnnport.runtime import doctor


def test_the_report_names_what_works():
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("  ort-cpu"))
    assert line.split()[:2] == ["ort-cpu", "ok"]
    for title in ("versions", "engines", "providers", "GPUs", "CPU"):
        assert title in done.stdout.splitlines()


def test_json_is_one_document():
    done = CliRunner().invoke(app, ["doctor", "--json"])
    document = json.loads(done.stdout)
    assert (document["schema_version"], document["ok"]) == (1, True)
    assert {trial["name"] for trial in document["engines"]} >= {"ort-cpu", "ort-cuda"}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_without_any_cpu_engine_the_exit_code_is_3(monkeypatch, options):
    monkeypatch.setattr(doctor, "probe_model", lambda: b"not a model")
    done = CliRunner().invoke(app, ["doctor", *options])
    assert done.exit_code == 3
    assert done.stdout
