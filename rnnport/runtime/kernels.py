"""Giving a session rnnport's native kernels, where the file calls functions that they carry."""

from __future__ import annotations

import os
from typing import Any

from rnnport.errors import RequestError, UnavailableError
from rnnport.native.library import LEVEL, library_path
from rnnport.runtime.metadata import read_domains

DOMAIN, VERSION = "rnnport", 1  # of the functions in quantized files that the kernels carry


def register_kernels(options: Any, path: str) -> str:
    """Register the library with a session's options, where it helps the file.

    Without it the functions' bodies run, which are standard operators.

    Returns:
        why the bodies run; empty where the kernels do, or where the file calls no functions.

    Raises:
        RequestError: RNNPORT_ISA or RNNPORT_NATIVE has a value that is unknown here.
    """
    version = read_domains(path).get(DOMAIN)
    if version is None:
        return ""
    if version > VERSION:  # ONNX Runtime would give the kernels newer functions too
        return f"the file's functions have version {version}; the kernels know {VERSION}"
    try:
        library = str(library_path())
    except UnavailableError as missing:
        return str(missing)
    try:
        options.register_custom_ops_library(library)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no base class of their own
        refuse_level(error)
        return f"this ONNX Runtime cannot use the native kernels: {error}"
    return ""


def refuse_level(error: Exception) -> None:
    """Tell a level that this processor does not have from other errors of ONNX Runtime.

    Raises:
        RequestError: RNNPORT_ISA names such a level.
    """
    asked, text = os.environ.get(LEVEL), str(error)
    if asked and LEVEL in text:
        raise RequestError(text[text.index(LEVEL) :]) from error
