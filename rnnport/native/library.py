"""Where the library of kernels is, or why there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rnnport.errors import RequestError, UnavailableError

FOLDER = Path(__file__).parent
NAME = {"win32": "rnnport.dll", "darwin": "librnnport.dylib"}.get(sys.platform, "librnnport.so")
NOT_BUILT = FOLDER / "not_built.txt"  # the reason, written when the package was installed
SWITCH, OFF = "RNNPORT_NATIVE", "off"
LEVEL = "RNNPORT_ISA"
BUILD = "python -m rnnport.native.build"


def library_path() -> Path:
    """The path of the library that ``RegisterCustomOps`` is in.

    Raises:
        UnavailableError: it was not built, or is switched off.
        RequestError: the environment variable RNNPORT_NATIVE is something else than ``off``.
    """
    if switched_off():
        raise UnavailableError(f"the native kernels are switched off: {SWITCH}={OFF}")
    path = FOLDER / NAME
    if not path.is_file():
        reason = NOT_BUILT.read_text().strip() if NOT_BUILT.is_file() else "nothing has built it"
        raise UnavailableError(
            f"the native kernels are not built: {reason}; with a C++17 compiler: {BUILD}"
        )
    return path


def switched_off() -> bool:
    """Whether RNNPORT_NATIVE=off is set.

    Raises:
        RequestError: it is set to something else.
    """
    value = os.environ.get(SWITCH, "")
    if value not in ("", OFF):
        raise RequestError(f"{SWITCH} is '{value}'; expected '{OFF}', or nothing")
    return value == OFF


def sources_fingerprint() -> str:
    """What tells the sources beside the library from those of any other version."""
    import hashlib

    digest = hashlib.sha256()
    for source in sorted([*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h")]):
        digest.update(source.name.encode() + b"\0" + source.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def level() -> str:
    """The instruction set level whose kernels run here: ``avx2``, ``portable``.

    Raises:
        UnavailableError: there is no library, it cannot be loaded, or its sources have changed.
        RequestError: RNNPORT_ISA names a level that this processor or library does not have.
    """
    import ctypes  # not at the top: to run a model it is not needed

    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        library.rnnport_level.restype = library.rnnport_sources.restype = ctypes.c_char_p
        found: bytes | None = library.rnnport_level()
        sources: bytes = library.rnnport_sources()
    except (OSError, AttributeError) as error:
        raise UnavailableError(
            f"{path} cannot be loaded: {error}; build it again: {BUILD}"
        ) from error
    if sources.decode() != sources_fingerprint():
        raise UnavailableError(
            f"{path} was built from other sources than those beside it; build it again: {BUILD}"
        )
    if found is None:
        raise RequestError(
            f"{LEVEL} is '{os.environ.get(LEVEL)}', which this processor or library does not have; "
            "without it the best level is chosen"
        )
    return found.decode()
