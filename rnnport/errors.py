"""The errors rnnport raises, each with the exit code that the command line gives it.

    RnnportError
    ├── CheckFailedError         1    a completed check says no
    │   └── ParityError          1    two engines differ, or nothing was compared
    ├── RequestError             2    the request or its input is wrong
    │   ├── DataError            2    the data does not fit the model or the task
    │   ├── RecipeError          2    a recipe has a wrong key or value
    │   ├── OutputExistsError    2    the output is there and may not be replaced
    │   ├── UnsupportedModelError  2  the module or graph cannot be carried as asked
    │   └── StreamError          2    a push does not fit the stream; its state is untouched
    └── UnavailableError         3    cannot load or run
        ├── ModelFileError       3    the file is missing its end, its head or its sense
        ├── SpecVersionError     3    the file was written for a newer rnnport
        ├── MissingExtraError    3    an optional package is not installed
        ├── DeviceError          3    the device cannot run the model
        ├── FetchError           3    a data set can neither be found nor downloaded
        └── WriteError           3    the output could not be written

A message says what was found, what was expected, and the command or option that helps.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CheckFailedError",
    "DataError",
    "DeviceError",
    "FetchError",
    "MissingExtraError",
    "ModelFileError",
    "OutputExistsError",
    "ParityError",
    "RecipeError",
    "RequestError",
    "RnnportError",
    "SpecVersionError",
    "StreamError",
    "UnavailableError",
    "UnsupportedModelError",
    "WriteError",
]


class RnnportError(Exception):
    """Anything that rnnport itself refuses or fails to do."""

    exit_code = 2


class CheckFailedError(RnnportError):
    """A check ran to its end and its answer is no."""

    exit_code = 1


class ParityError(CheckFailedError):
    """Two engines do not give the same answers, or nothing was compared."""


class RequestError(RnnportError):
    """The request or its input is wrong."""


class DataError(RequestError):
    """The data does not fit the model or the task."""


class RecipeError(RequestError):
    """A recipe has an unknown key, a wrong value, or fields that exclude each other."""


class OutputExistsError(RequestError):
    """The output exists already and may not be replaced without being asked to."""


class UnsupportedModelError(RequestError):
    """A module or graph cannot be carried as asked; the message says what to change."""


class StreamError(RequestError):
    """An input does not fit the stream; the stream's state is untouched."""


class UnavailableError(RnnportError):
    """Something needed to load or run is not there or does not work."""

    exit_code = 3


class ModelFileError(UnavailableError):
    """A model file cannot be read."""


class SpecVersionError(UnavailableError):
    """A model file was written for a newer rnnport than this one."""


class MissingExtraError(UnavailableError):
    """An optional package is not installed; ``instead`` is another extra that brings it."""

    EXTRAS: ClassVar[dict[str, str]] = {  # package → the extra that brings it
        "torch": "train",
        "lightning": "train",
        "onnxscript": "train",
        "onnx_ir": "train",
        "safetensors": "train",
        "tomli_w": "train",
        "onnx": "onnx",
        "matplotlib": "onnx",
        "pyarrow": "data",
        "pooch": "data",
        "sklearn": "data",
        "rich": "data",
    }

    def __init__(
        self, package: str, extra: str, purpose: str, *, instead: str | None = None
    ) -> None:
        other = f", or 'rnnport[{instead}]'" if instead else ""
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: "
            f"pip install 'rnnport[{extra}]'{other}"
        )
        self.package = package
        self.extra = extra

    @classmethod
    def of(cls, error: ImportError, purpose: str) -> Exception:
        """What to raise for a failed import: an extra's package by its extra, else ``error``."""
        package = (error.name or "").split(".")[0]
        extra = cls.EXTRAS.get(package)
        return error if extra is None else cls(package, extra, purpose)


class DeviceError(UnavailableError):
    """A device was asked for that cannot run the model."""


class FetchError(UnavailableError):
    """A data set can neither be found on this machine nor downloaded."""


class WriteError(UnavailableError):
    """An output could not be written; what was there before is untouched."""
