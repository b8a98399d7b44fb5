"""Writing an output whole or not at all: to a temporary sibling, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnport.errors import OutputExistsError, RequestError, WriteError


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse, before any work is done, an output that is there already.

    Raises:
        OutputExistsError: ``path`` exists and ``overwrite`` is false.
        RequestError: the folder of ``path`` does not exist, or ``path`` is no regular file.
    """
    if path.exists() and not path.is_file():
        raise RequestError(f"{path} is not a regular file, and is not replaced by one")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already; --overwrite replaces it")
    if not path.absolute().parent.is_dir():
        raise RequestError(f"the folder {path.absolute().parent} does not exist")


def refuse_input(path: Path, *inputs: Path) -> None:
    """Refuse an output that is one of the inputs: no command changes what it was given.

    Raises:
        RequestError: ``path`` is one of ``inputs``.
    """
    for given in inputs:
        if path.exists() and given.exists() and path.samefile(given):
            raise RequestError(f"{path} is the input, which is not replaced; give another output")


@contextmanager
def replacing(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary sibling to write to; it takes the name ``path`` only when all went well.

    Raises:
        OutputExistsError, RequestError: as :func:`refuse_existing`.
        WriteError: the disk is full, or the folder cannot be written.
    """
    refuse_existing(path, overwrite)
    try:
        folder = path.absolute().parent
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=folder)
        os.close(handle)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise WriteError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
