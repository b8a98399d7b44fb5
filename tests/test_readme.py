"""The README's commands and programs run as they stand there, one after the other."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|python|js)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SET_UP = "./scripts/"  # the two commands: what CI itself runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a stranger's CSV and the recipes."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "models").symlink_to(ROOT / "models")
    hours = np.arange("2024-01-01", "2024-02-15", dtype="datetime64[h]")
    day = np.sin(np.arange(len(hours)) * 2 * np.pi / 24)
    price = 100 + 10 * day + np.random.default_rng(0).normal(size=len(hours))
    lines = [f"{hour},{value:.3f},{-value:.1f}" for hour, value in zip(hours, price, strict=True)]
    (python,) = (block for language, block in BLOCKS if "class Tagger" in block)
    (folder / "tagger.py").write_text(python.split("tagger = Tagger()")[0])
    (folder / "my.csv").write_text("\n".join(["time,price,demand", *lines]) + "\n")
    return folder


def run(command, folder, **more):
    program = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{program}{os.pathsep}{os.environ['PATH']}", **more}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def printed(workplace):
    """What each command and program printed, by its text; the JavaScript ones are left out."""
    texts = {}
    for language, block in BLOCKS:
        if language == "python":
            texts[block] = run([sys.executable, "-c", block], workplace)
        elif language == "sh" and SET_UP not in block:
            for command in block.strip().splitlines():
                texts[command] = run(["bash", "-c", command], workplace)
    return texts


def test_every_command_and_python_program_runs(printed):
    commands = [text for text in printed if text.startswith("rnnport ")]
    assert {command.split()[1] for command in commands} >= {
        "train",
        "export",
        "verify",
        "evaluate",
        "infer",
        "inspect",
    }


def test_the_forecast_continues_the_time_stamps_in_the_column_s_units(printed, workplace):
    header, *rows = (workplace / "forecast.csv").read_text().splitlines()
    assert header == "time,price"
    first, last = rows[0].split(","), rows[-1].split(",")
    assert first[0].startswith("2024-02-15")
    assert "00:00" in first[0]
    assert 70 < float(first[1]) < 130
    assert 70 < float(last[1]) < 130


def test_the_application_s_shapes_are_as_its_comments_say(printed):
    text = next(output for block, output in printed.items() if "session.stream(batch=2)" in block)
    assert "(4, 200, 5)" in text


def test_the_javascript_program_gives_the_probabilities_that_python_gives(printed, workplace):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: the JavaScript program cannot be tried")
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "onnxruntime-node"]
    (workplace / "package.json").write_text("{}")
    if subprocess.run(install, cwd=workplace, capture_output=True).returncode != 0:
        pytest.skip("npm has no network: the JavaScript program cannot be tried")
    (program,) = (block for language, block in BLOCKS if language == "js")
    (workplace / "program.js").write_text(program)
    there = np.array(json.loads(run(["node", "program.js"], workplace)))

    import rnnport

    here = rnnport.load(workplace / "digits.onnx")(np.zeros((1, 8, 8), np.float32))[0]
    np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6)


def test_the_files_that_the_readme_links_to_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
