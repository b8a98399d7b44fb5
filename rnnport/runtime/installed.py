"""The installed ONNX Runtime: imported late, or refused with what to install."""

from __future__ import annotations

from typing import Any

from rnnport.errors import MissingExtraError, UnavailableError

WHEELS = ("onnxruntime", "onnxruntime-gpu")  # both own the folder onnxruntime/


def onnxruntime() -> Any:
    """The ``onnxruntime`` module.

    Raises:
        MissingExtraError: no wheel of it is installed.
        UnavailableError: its folder is damaged, as it is once one of two wheels was removed.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        if not installed_wheels():
            raise MissingExtraError(
                "onnxruntime", "cpu", "running a model", instead="gpu"
            ) from error
        raise UnavailableError(f"onnxruntime cannot be imported: {error}; {_again()}") from error
    if not hasattr(ort, "InferenceSession"):
        raise UnavailableError(f"the onnxruntime package is damaged; {_again()}")
    return ort


def installed_wheels() -> dict[str, str]:
    """The installed ONNX Runtime wheels and their versions; more than one is a mistake."""
    # not at the top: it costs as much time as loading a small model, which seldom needs it
    from importlib import metadata

    found = {}
    for wheel in WHEELS:
        try:
            found[wheel] = metadata.version(wheel)
        except metadata.PackageNotFoundError:
            continue
    return found


def _again() -> str:
    wheels = installed_wheels()
    if len(wheels) > 1:
        return (
            f"{' and '.join(wheels)} are both installed and overwrite each other: "
            f"pip uninstall {' '.join(wheels)}, then pip install one of them"
        )
    wheel = next(iter(wheels), WHEELS[0])
    return f"pip install --force-reinstall {wheel}; 'rnnport doctor' says more"
