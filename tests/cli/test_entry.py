"""The program's beginning: an interrupt while the commands still load ends as any other."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

# Ctrl-C at the moment when typer, which all commands need, is looked for
INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["rnnport", "--version"]
"""


def script():
    """What the installed script does, by the project's own file."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, function = project["project"]["scripts"]["rnnport"].split(":")
    return f"from {module} import {function} as run; run()"


@pytest.mark.parametrize(
    "start", [script(), "import runpy; runpy.run_module('rnnport', run_name='__main__')"]
)
def test_an_interrupt_while_the_commands_load_is_exit_130(start):
    command = [sys.executable, "-c", INTERRUPTED + start]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "rnnport: interrupted\n"


def test_the_script_runs_the_program():
    command = [sys.executable, "-c", f"import sys; sys.argv[1:] = ['--version']; {script()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("rnnport 0.")
