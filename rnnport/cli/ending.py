"""How every command ends: an error becomes one message on stderr and the designed exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from rnnport.errors import MissingExtraError, RnnportError, WriteError

P = ParamSpec("P")
R = TypeVar("R")

DEBUG = "RNNPORT_DEBUG"
INTERRUPTED = 130


def ends_well(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: no traceback for a user's mistake (``--debug`` shows it)."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            answer = _needing_extras(command, *args, **kwargs)
            sys.stdout.flush()  # a full disk behind it is told here, not by a traceback at the end
            return answer
        except RnnportError as error:
            if os.environ.get(DEBUG):
                raise
            print(f"rnnport: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            print("rnnport: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:  # the reader of our stdout went away: not our failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from error
        except OSError as error:
            if os.environ.get(DEBUG):
                raise
            named = f"{error.filename}: " if error.filename else ""
            print(f"rnnport: {named}{error.strerror or error}", file=sys.stderr)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(WriteError.exit_code) from error

    return wrapped


def _needing_extras(command: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return command(*args, **kwargs)
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(error, "this command") from error
