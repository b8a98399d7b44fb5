"""The doctor: what works has run a node, what does not has a reason, and mistakes get advice."""

import importlib.metadata
import json
import sys

import numpy as np
import onnxruntime
import pytest

from rnnport.errors import RnnportError
from rnnport.runtime import cuda, doctor, installed
from rnnport.runtime.cpu import FEATURES, this_cpu, usable_threads
from rnnport.runtime.probe import probe_answer


@pytest.fixture(scope="module")
def health():
    return doctor.examine()


def trial(trials, name):
    return next(found for found in trials if found.name == name)


def test_the_cpu_engine_ran_an_lstm(health):
    assert trial(health.engines, "ort-cpu").works
    assert "runs an LSTM" in trial(health.engines, "ort-cpu").detail
    assert health.ok


def test_every_listed_provider_was_tried(health):
    assert [found.name for found in health.providers] == onnxruntime.get_available_providers()
    assert trial(health.providers, "CPUExecutionProvider").works


@pytest.mark.skipif(cuda.obstacle() is None, reason="CUDA works here")
def test_a_provider_that_is_only_listed_does_not_count(health):
    found = trial(health.engines, "ort-cuda")
    assert not found.works
    assert cuda.obstacle() in found.detail
    for name in health.missing_libraries:
        assert name in found.detail


def test_a_wrong_answer_is_not_working():
    assert doctor._judge({"y": probe_answer()}) == "runs an LSTM, within 0e+00"
    for wrong in (probe_answer() + 0.01, np.full((2, 1, 1, 1), np.nan)):
        with pytest.raises(RnnportError, match="runs an LSTM wrongly"):
            doctor._judge({"y": wrong})


def test_the_document_is_json_with_a_version(health):
    document = json.loads(json.dumps(health.document()))
    assert document["schema_version"] == 1
    assert document["versions"]["numpy"] == np.__version__
    assert document["cpu"]["threads"] == usable_threads()
    assert len(document["wheels"]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_cpu_features_are_known_on_linux():
    cpu = this_cpu()
    assert tuple(cpu.features) == FEATURES
    assert None not in cpu.features.values()
    assert cpu.name


def test_both_wheels_are_a_mistake_with_a_way_out(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.31.1")
    wheels = installed.installed_wheels()
    assert set(wheels) == {"onnxruntime", "onnxruntime-gpu"}
    (advice,) = doctor._advice(wheels, (doctor.Trial("ort-cuda", True, ""),))
    assert "pip uninstall onnxruntime onnxruntime-gpu" in advice


def test_no_wheel_is_told_too():
    (advice,) = doctor._advice({}, (doctor.Trial("ort-cuda", False, ""),))
    assert "pip install 'rnnport[cpu]'" in advice


def test_nothing_works_without_a_cpu_engine(health):
    dead = tuple(doctor.Trial(found.name, False, "") for found in health.engines)
    assert not doctor.Health(**{**vars(health), "engines": dead}).ok
