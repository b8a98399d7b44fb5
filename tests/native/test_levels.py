"""Every level that this processor has passes the kernels' tests, each in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from native_layers import Layer, random_call, run

HERE = Path(__file__).parent
SUITE = (
    "test_kernels.py",
    "test_activations.py",
    "test_invariance.py",
    "test_arithmetic.py",
    "test_refusals.py",
    "test_provider.py",
    "test_provider_claims.py",
)


def levels():
    """The levels that the library names when it is asked for one that does not exist."""
    code = "from native_layers import *; run(Layer(), random_call(Layer(), 1, 1))"
    done = python("-c", code, level="none")
    return re.search(r"library have (.*)", done.stderr)[1].split(", ")


def python(*arguments, level):
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "RNNPORT_ISA": level, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True
    )


def test_the_best_level_is_chosen_unless_one_is_named():
    named = levels()
    assert "portable" in named
    code = "from rnnport.native.library import level; print(level())"
    assert python("-c", code, level="").stdout.strip() == named[-1]
    assert python("-c", code, level="portable").stdout.strip() == "portable"


@pytest.mark.slow
def test_the_suite_passes_at_every_level():
    for level in levels():
        files = [str(HERE / name) for name in SUITE]
        done = python("-m", "pytest", "-n", "0", "-q", "-m", "not slow", *files, level=level)
        assert done.returncode == 0, f"{level}\n{done.stdout}"


def test_levels_differ_by_the_rounding_of_activations_alone(monkeypatch):
    layer = Layer(input=40, hidden=50)
    feeds = random_call(layer, 30, 2)
    answers = []
    for level in levels():
        monkeypatch.setenv("RNNPORT_ISA", level)
        answers.append(run(layer, feeds)["Y"])
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], 0, 5e-5)
