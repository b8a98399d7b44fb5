"""Without a package that a command needs: one line that says which extra brings it, exit 3."""

import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = str(Path(__file__).parent.parent / "golden" / "format_1.onnx")
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["rnnport", *{arguments!r}]
from rnnport.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("blocked", "extra", "arguments"),
    [
        (["onnx"], "onnx", ["inspect", GOLDEN]),
        (["onnx"], "onnx", ["check", GOLDEN]),
        (["onnx"], "onnx", ["annotate", GOLDEN, "-o", "out.onnx"]),
        (["onnx"], "onnx", ["quantize", GOLDEN, "-o", "out.onnx"]),
        (["matplotlib"], "onnx", ["quantize", GOLDEN, "-o", "out.onnx", "--report", "out.html"]),
        (["torch"], "train", ["train", "--data", "digits", "--task", "classify", "-o", "run"]),
        (["lightning"], "train", ["train", "--data", "digits", "--task", "classify", "-o", "run"]),
        (["torch"], "train", ["export", "run"]),
        (["torch"], "train", ["verify", GOLDEN, "--against", "."]),
        (["pyarrow"], "data", ["infer", GOLDEN, "--input", "my.csv"]),
    ],
)
def test_the_extra_is_named(blocked, extra, arguments, tmp_path):
    (tmp_path / "my.csv").write_text("a,b\n1,2\n")
    before = sorted(tmp_path.iterdir())
    code = WITHOUT.format(blocked=blocked, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    assert f"rnnport[{extra}]" in done.stderr
    assert blocked[0] in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before
