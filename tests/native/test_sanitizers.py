"""The kernels under the address and undefined-behaviour sanitizers, on random layers and calls."""

import os
import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rnnport.errors import UnavailableError
from rnnport.native.build import FLAGS, LEVEL_FLAGS, X86_64, compiler
from rnnport.native.library import FOLDER, level

SOURCES = ("pack", "level", "runs_here", "steps_portable", "steps_avx2")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g1")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The program of driver.cpp, every part of it compiled with the sanitizers."""
    folder = tmp_path_factory.mktemp("driver")
    try:
        words = compiler()
    except UnavailableError as missing:
        pytest.skip(str(missing))

    def compiled(source):
        flags = LEVEL_FLAGS.get(source.name, ()) if platform.machine() in X86_64 else ()
        made = str(folder / f"{source.stem}.o")
        command = [*words, *FLAGS, *flags, *SANITIZE, "-I", str(FOLDER), "-c", str(source)]
        subprocess.run([*command, "-o", made], check=True)
        return made

    sources = [FOLDER / f"{name}.cpp" for name in SOURCES] + [Path(__file__).parent / "driver.cpp"]
    with ThreadPoolExecutor() as pool:
        objects = list(pool.map(compiled, sources))
    program = folder / "driver"
    subprocess.run([*words, *SANITIZE, *objects, "-o", str(program)], check=True)
    return program


@pytest.mark.parametrize("name", ["portable", "the best"])
def test_no_level_reads_or_writes_what_is_not_its_own(driver, name):
    name = level() if name == "the best" else name
    environment = {**os.environ, "RNNPORT_ISA": name}
    done = subprocess.run([driver], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == name
