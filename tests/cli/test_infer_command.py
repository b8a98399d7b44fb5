"""``rnnport infer``: stdout, stderr, exit codes, and nothing left behind by a failure."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import small_models
from typer.testing import CliRunner

from rnnport.cli.main import app

PROGRAM = [sys.executable, "-m", "rnnport", "infer"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    small_models.classifier(folder / "c.onnx")
    small_models.classifier(folder / "cs.onnx", streaming=True)
    small_models.forecaster(folder / "f.onnx")
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((3, 8, 3)))
    rows = "".join(f"{i},{i * 10}\n" for i in range(8))
    (folder / "t.csv").write_text("b,a\n" + rows)
    return folder


def run(*arguments, text=None):
    return CliRunner().invoke(app, ["infer", *map(str, arguments)], input=text)


def test_answers_go_to_stdout_and_notes_to_stderr(folder):
    done = run(folder / "c.onnx", "--input", folder / "x.npy", "--device", "cpu")
    assert done.exit_code == 0
    head, *rows = done.stdout.splitlines()
    assert head.startswith("label,probability,probability.zero")
    assert len(rows) == 3
    assert done.stderr == "rnnport: running on cpu: it was asked for\n"


def test_auto_says_what_it_took_and_why(folder):
    done = run(folder / "cs.onnx", "--input", folder / "x.npy")
    assert "running on cpu: the file streams" in done.stderr


def test_a_forecast_goes_to_a_file(folder, tmp_path):
    output = tmp_path / "o.csv"
    done = run(folder / "f.onnx", "--input", folder / "t.csv", "-o", output)
    assert done.exit_code == 0
    assert done.stdout == ""
    assert output.read_text() == "step,a,b\n1,71.0,8.0\n2,72.0,9.0\n"
    again = run(folder / "f.onnx", "--input", folder / "t.csv", "-o", output)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert (
        run(folder / "f.onnx", "--input", folder / "t.csv", "-o", output, "--overwrite").exit_code
        == 0
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["no.onnx", "--input", "x.npy"], 2, "no.onnx does not exist"),
        (["empty.onnx", "--input", "x.npy"], 3, "empty.onnx is empty"),
        (["cut.onnx", "--input", "x.npy"], 3, "cut.onnx is not an ONNX model, or was cut off"),
        (["newer.onnx", "--input", "x.npy"], 3, "pip install --upgrade rnnport"),
        (["c.onnx"], 2, "--input names the data"),
        (["c.onnx", "--input", "-"], 2, "--input names the data"),
        (["c.onnx", "--input", "no.npy"], 2, "no.npy does not exist"),
        (["c.onnx", "--input", "t.csv"], 2, "2 columns of values (b, a)"),
        (["c.onnx", "--input", "x.npy", "--device", "gpu"], 2, "there are auto, cpu, cuda"),
        (["c.onnx", "--input", "x.npy", "--batch-size", "0"], 2, "batch size is 0"),
        (["c.onnx", "--input", "x.npy", "--chunk", "2"], 2, "--chunk is for --stream"),
        (["f.onnx", "--input", "nan.csv"], 2, "row 3 below the header, column 'a': 'nan'"),
        (["f.onnx", "--input", "text.csv"], 2, "'what' is not a finite number"),
        (["f.onnx", "--input", "short.csv"], 2, "4 rows; the model looks back over 6"),
        (["f.onnx", "--input", "other.csv"], 2, "no column 'a'"),
        (["c.onnx", "--stream"], 2, "rnnport export RUN_DIR --stream"),
        (["cs.onnx", "--stream", "--input", "x.npy"], 2, "--stream reads stdin"),
        (["cs.onnx", "--stream", "-o", "o.csv"], 2, "--stream reads stdin"),
        (["cs.onnx", "--stream"], 2, "line 2: it has 2 numbers, expected 3"),
    ],
)
def test_a_mistake_is_one_message_with_its_exit_code(
    folder, tmp_path, monkeypatch, arguments, code, says
):
    monkeypatch.chdir(tmp_path)
    for name in ("c.onnx", "cs.onnx", "f.onnx", "x.npy", "t.csv"):
        (tmp_path / name).symlink_to(folder / name)
    whole = (folder / "c.onnx").read_bytes()
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    newer = whole.replace(b'"format_version": 1', b'"format_version": 9')
    (tmp_path / "newer.onnx").write_bytes(newer)
    (tmp_path / "nan.csv").write_text("a,b\n" + "1,1\n" * 2 + "nan,1\n" + "1,1\n" * 5)
    (tmp_path / "text.csv").write_text("a,b\n" + "1,1\n" * 7 + "what,1\n")
    (tmp_path / "short.csv").write_text("a,b\n" + "1,1\n" * 4)
    (tmp_path / "other.csv").write_text("c,b\n" + "1,1\n" * 8)
    before = sorted(path.name for path in tmp_path.iterdir())
    output = [] if "-o" in arguments or "--stream" in arguments else ["-o", "out.csv"]
    done = run(*arguments, *output, text="1,2,3\n4,5\n")
    assert done.exit_code == code
    assert says in done.stderr
    assert "Traceback" not in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        ("o.xlsx", 2, "must end in .npy, .csv, .parquet, .jsonl"),
        ("nowhere/o.csv", 2, "nowhere does not exist"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(folder, tmp_path, output, code, says):
    done = run(folder / "c.onnx", "--input", folder / "x.npy", "-o", tmp_path / output)
    assert (done.exit_code, says in done.stderr) == (code, True)
    assert "running on" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of a file")
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".npy"])
def test_a_full_disk_is_exit_3_and_leaves_what_was_there(folder, tmp_path, suffix):
    import resource

    output = tmp_path / f"o{suffix}"
    output.write_text("mine")
    arguments = [folder / "c.onnx", "--input", folder / "x.npy", "-o", output, "--overwrite"]
    done = subprocess.run(
        [sys.executable, "-B", "-m", "rnnport", "infer", *arguments],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),  # bytes
    )
    assert done.returncode == 3
    assert f"{output} could not be written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    assert output.read_text() == "mine"


def test_a_stream_answers_every_line(folder):
    done = run(folder / "cs.onnx", "--stream", "--input", "-", text="[1,2,3]\n4,5,6\n")
    assert done.exit_code == 0
    for line in done.stdout.splitlines():
        assert set(json.loads(line)) == {"label", "probability"}
    assert len(done.stdout.splitlines()) == 2
    together = run(folder / "cs.onnx", "--stream", "--chunk", "2", text="[1,2,3]\n4,5,6\n")
    assert together.stdout == done.stdout


@pytest.fixture
def following(folder):
    """A process that follows its stdin."""
    process = subprocess.Popen(
        [*PROGRAM, folder / "cs.onnx", "--stream"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        # a parent that ignores Ctrl-C, as a job in the background does, would hand that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = threading.Timer(30, process.kill)  # an answer that never comes must not hang us
    deadline.start()
    yield process
    deadline.cancel()
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


def test_an_answer_comes_before_the_next_line_is_written(following):
    for number in range(3):
        following.stdin.write(f"{number},0,1\n")
        assert json.loads(following.stdout.readline())["label"]
    following.stdin.close()
    assert following.wait(20) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
def test_an_interrupt_is_exit_130(following):
    following.stdin.write("1,2,3\n")
    following.stdout.readline()
    following.send_signal(signal.SIGINT)
    assert following.wait(20) == 130
    assert following.stderr.read().endswith("rnnport: interrupted\n")


def test_a_reader_that_goes_away_is_no_failure(following):
    following.stdin.write("1,2,3\n")
    following.stdout.readline()
    following.stdout.close()
    with contextlib.suppress(BrokenPipeError):  # the process may have ended already
        for _ in range(100):
            following.stdin.write("1,2,3\n")
            time.sleep(0.01)
    with contextlib.suppress(BrokenPipeError):
        following.stdin.close()
    assert following.wait(20) == 0
    assert "Traceback" not in following.stderr.read()


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
sys.argv = ["rnnport", *sys.argv[1:]]
from rnnport.cli.main import main
main()
"""


def blocked(names, *arguments, text=None):
    command = [sys.executable, "-c", BLOCKED.format(names=names), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=text, check=False)


def test_a_model_runs_with_numpy_and_onnxruntime_alone(folder, tmp_path):
    names = {
        "torch",
        "onnx",
        "onnxscript",
        "pyarrow",
        "sklearn",
        "pooch",
        "rich",
        "scipy",
    }
    for suffix in (".csv", ".jsonl", ".npy"):
        output = tmp_path / f"o{suffix}"
        done = blocked(names, "infer", folder / "c.onnx", "--input", folder / "x.npy", "-o", output)
        assert (done.returncode, output.exists()) == (0, True), done.stderr
    done = blocked(names, "infer", folder / "cs.onnx", "--stream", text="1,2,3\n")
    assert json.loads(done.stdout)["label"]
    done = blocked(names, "infer", folder / "f.onnx", "--input", folder / "t.csv")
    assert done.returncode == 3
    assert "pip install 'rnnport[data]'" in done.stderr
    assert blocked(names, "doctor").returncode == 0


def test_tables_need_neither_torch_nor_onnx(folder):
    names = {"torch", "onnx", "onnxscript"}
    done = blocked(names, "infer", folder / "f.onnx", "--input", folder / "t.csv")
    assert done.stdout == "step,a,b\n1,71.0,8.0\n2,72.0,9.0\n"
