"""Building the library of kernels with this machine's compiler: python -m rnnport.native.build.

It needs nothing but the standard library, so that an installation can run it before anything else
is there. Each source of a level is compiled with that level's flags; the rest, with the processor
family's baseline.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rnnport.errors import RnnportError, UnavailableError
from rnnport.native.library import FOLDER, NAME, NOT_BUILT, sources_fingerprint, switched_off

COMPILERS = ("c++", "g++", "clang++")  # unless the environment variable CXX names one
# Sums of products stay as they are written: a row's answer may not depend on how it was compiled.
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off")
LEVEL_FLAGS = {"steps_avx2.cpp": ("-mavx2", "-mfma")}
X86_64 = ("x86_64", "AMD64")


def build(*more: str) -> Path:
    """Compile and link the library beside its sources, all or nothing; ``more`` are flags.

    Raises:
        UnavailableError: there is no compiler, or it failed; the message has its first complaint.
    """
    words = compiler()
    with tempfile.TemporaryDirectory() as folder:
        sources = sorted(FOLDER.glob("*.cpp"))
        named = f'-DRNNPORT_SOURCES="{sources_fingerprint()}"'

        def compiled(source: Path) -> str:
            level = LEVEL_FLAGS.get(source.name, ()) if platform.machine() in X86_64 else ()
            made = str(Path(folder) / f"{source.stem}.o")
            _run([*words, *FLAGS, *level, named, *more, "-c", str(source), "-o", made])
            return made

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compiled, sources))
        linked = Path(folder) / NAME
        _run([*words, "-shared", *more, *objects, "-o", str(linked), *_link_flags()])
        beside = FOLDER / f"{NAME}.new"
        shutil.copyfile(linked, beside)
        beside.replace(FOLDER / NAME)
    return FOLDER / NAME


def build_or_say_why() -> Path | None:
    """Build the library; where that fails, leave the reason in its place.

    An older library is taken away: it need not fit the sources.
    """
    (FOLDER / NAME).unlink(missing_ok=True)
    NOT_BUILT.unlink(missing_ok=True)
    try:
        if not switched_off():
            return build()
        reason = "RNNPORT_NATIVE=off was set at the installation"
    except (RnnportError, OSError) as error:
        reason = str(error)
    NOT_BUILT.write_text(reason + "\n")
    return None


def compiler() -> list[str]:
    """The words that a command of the C++ compiler begins with.

    Raises:
        UnavailableError: there is none.
    """
    named = os.environ.get("CXX", "")
    for candidate in [named] if named else COMPILERS:
        words = shlex.split(candidate)
        if shutil.which(words[0]):
            return words
    looked = f"CXX={named}" if named else ", ".join(COMPILERS)
    raise UnavailableError(f"no C++ compiler was found ({looked})")


def _link_flags() -> tuple[str, ...]:
    """No dependency at run time but the system's own libraries."""
    if sys.platform != "linux":
        return ()
    exports = FOLDER / "exports.map"
    return ("-static-libstdc++", "-static-libgcc", f"-Wl,--version-script={exports},-z,nodelete")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if "error" in line]
        complaint = complaints[0] if complaints else done.stderr.strip()[-200:]
        raise UnavailableError(f"{command[0]} failed ({done.returncode}): {complaint}")


if __name__ == "__main__":
    try:
        print(build())
    except UnavailableError as failure:
        print(failure, file=sys.stderr)
        sys.exit(failure.exit_code)
