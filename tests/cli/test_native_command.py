"""``rnnport native``: the path of the library of kernels, or exit 3 with the reason."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rnnport.cli.main import app
from rnnport.errors import UnavailableError
from rnnport.native import build, library


def command(*options, **environment):
    return CliRunner().invoke(app, ["native", *options], env=environment)


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """A place where no library was built."""
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    monkeypatch.setattr(library, "NOT_BUILT", tmp_path / "not_built.txt")
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setattr(build, "NOT_BUILT", tmp_path / "not_built.txt")
    return tmp_path


@pytest.fixture
def library_file():
    """The library itself, read before its folder is another."""
    need_library()
    return (Path(library.__file__).parent / library.NAME).read_bytes()


def need_library():
    try:
        library.library_path()
    except UnavailableError as missing:
        pytest.skip(str(missing))


def test_the_path_is_printed_alone():
    need_library()
    done = command("--path")
    assert done.exit_code == 0
    assert Path(done.stdout.strip()).is_file()
    assert done.stdout.count("\n") == 1


def test_without_options_the_level_is_told():
    need_library()
    done = command(RNNPORT_ISA="portable")
    assert (done.exit_code, done.stdout.split()[-2:]) == (0, ["level", "portable"])


@pytest.mark.parametrize(
    ("name", "value", "code", "said"),
    [
        ("RNNPORT_NATIVE", "off", 3, "switched off: RNNPORT_NATIVE=off"),
        ("RNNPORT_NATIVE", "on", 2, "expected 'off', or nothing"),
        ("RNNPORT_ISA", "mmx", 2, "RNNPORT_ISA is 'mmx'"),
    ],
)
def test_the_switches_are_honoured_or_refused(name, value, code, said):
    need_library()
    done = command(**{name: value})
    assert done.exit_code == code
    assert said in done.stderr


def test_a_library_that_was_not_built_is_exit_3_with_the_reason(empty_folder, monkeypatch):
    assert command("--path").exit_code == 3
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build.build_or_say_why() is None
    done = command("--path")
    assert done.exit_code == 3
    assert "no C++ compiler was found (CXX=no-such-compiler)" in done.stderr
    assert "python -m rnnport.native.build" in done.stderr


def test_a_compiler_that_fails_is_quoted_and_leaves_no_library(empty_folder, monkeypatch):
    (empty_folder / library.NAME).write_bytes(b"of other sources")
    (empty_folder / "broken.cpp").write_text("this is not C++;\n")
    assert build.build_or_say_why() is None
    assert "error" in (empty_folder / "not_built.txt").read_text()
    assert not (empty_folder / library.NAME).exists()


def test_a_file_that_is_no_library_is_exit_3(empty_folder):
    (empty_folder / library.NAME).write_bytes(b"not a library")
    done = command()
    assert done.exit_code == 3
    assert "cannot be loaded" in done.stderr


def test_a_library_of_other_sources_is_told_from_ours(library_file, empty_folder):
    (empty_folder / library.NAME).write_bytes(library_file)
    (empty_folder / "another.cpp").write_text("int changed;\n")
    done = command()
    assert done.exit_code == 3
    assert "built from other sources" in done.stderr


def test_doctor_says_which_level_runs_and_what_is_missing(empty_folder):
    done = CliRunner().invoke(app, ["doctor"])
    lines = done.stdout.splitlines()
    (line,) = (line for line in lines if line.startswith(f"  {library.NAME}"))
    assert line.split()[1] == "no"
    assert "not built" in line


def test_doctor_names_the_level():
    need_library()
    environment = {**os.environ, "RNNPORT_ISA": "portable"}
    done = subprocess.run(
        [sys.executable, "-m", "rnnport", "doctor"], env=environment, capture_output=True, text=True
    )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"  {library.NAME}"))
    assert line.split()[1:] == ["ok", "level", "portable"]
