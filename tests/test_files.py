"""Outputs are written whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnport.errors import OutputExistsError, RequestError, WriteError
from rnnport.files import refuse_existing, replacing


def folder_of(path):
    return sorted(entry.name for entry in path.iterdir())


def test_the_output_takes_its_name_when_the_block_ends_well(tmp_path):
    target = tmp_path / "model.onnx"
    with replacing(target) as temporary:
        temporary.write_bytes(b"whole")
        assert folder_of(tmp_path) == [temporary.name]
    assert folder_of(tmp_path) == ["model.onnx"]
    assert target.read_bytes() == b"whole"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_output_and_nothing_else(tmp_path, failure):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")

    def fail_half_way():
        with replacing(target, overwrite=True) as temporary:
            temporary.write_bytes(b"half")
            raise failure

    with pytest.raises(failure):
        fail_half_way()
    assert folder_of(tmp_path) == ["model.onnx"]
    assert target.read_bytes() == b"old"


def test_an_existing_output_is_refused_without_overwrite(tmp_path):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    with pytest.raises(OutputExistsError, match="--overwrite"), replacing(target):
        pytest.fail("the block must not run")
    assert target.read_bytes() == b"old"


def test_a_full_disk_is_a_write_error_and_leaves_the_old_output(tmp_path):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    with (
        pytest.raises(WriteError, match=os.strerror(errno.ENOSPC)) as caught,
        replacing(target, overwrite=True),
        Path("/dev/full").open("wb", buffering=0) as device,
    ):
        device.write(b"more than fits")
    assert caught.value.exit_code == 3
    assert folder_of(tmp_path) == ["model.onnx"]
    assert target.read_bytes() == b"old"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RequestError, match="nowhere"), replacing(tmp_path / "nowhere" / "m.onnx"):
        pytest.fail("the block must not run")


def test_the_output_has_the_permissions_of_an_ordinary_new_file(tmp_path):
    ordinary, replaced = tmp_path / "ordinary", tmp_path / "replaced"
    ordinary.touch()
    with replacing(replaced) as temporary:
        temporary.write_bytes(b"x")
    assert replaced.stat().st_mode == ordinary.stat().st_mode


@pytest.mark.parametrize("command", [["doctor", "--json"], ["inspect", "GOLDEN"]])
def test_a_full_disk_behind_stdout_is_one_line_and_exit_3(command):
    golden = Path(__file__).parent / "golden" / "format_1.onnx"
    words = [str(golden) if word == "GOLDEN" else word for word in command]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rnnport", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 3
    assert os.strerror(errno.ENOSPC) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_device_is_not_replaced_by_a_file():
    with pytest.raises(RequestError, match="not a regular file"):
        refuse_existing(Path("/dev/null"), overwrite=True)


GOLDEN = Path(__file__).parent / "golden" / "format_1.onnx"


@pytest.mark.parametrize(
    "arguments",
    [
        ["infer", "m.onnx", "--input", "x.npy", "-o", "x.npy"],
        ["annotate", "m.onnx", "-o", "m.onnx"],
        ["check", "m.onnx", "--fix", "-o", "m.onnx"],
        ["verify", "m.onnx", "--against", "m.onnx", "--report", "m.onnx"],
    ],
)
def test_no_command_writes_over_its_input(arguments, tmp_path):
    (tmp_path / "m.onnx").write_bytes(GOLDEN.read_bytes())
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 2), np.float32))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    command = [sys.executable, "-m", "rnnport", *arguments, "--overwrite"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "is the input" in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
