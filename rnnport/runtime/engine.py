"""The contract of an engine, anything that runs a model file, with the table of those there are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from rnnport.errors import RequestError
from rnnport.spec import ModelSpec

Array = NDArray[Any]
Arrays = Mapping[str, Array]


class Engine(Protocol):
    """Runs one model; every engine gives the same answers to the same feeds."""

    name: str

    def spec(self) -> ModelSpec:
        """What the model promises: inputs, outputs, states."""
        ...

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """Every graph output by name, successors of states included.

        Raises:
            RequestError: the feeds do not fit, or this engine would answer them wrongly.
        """
        ...


# name → "module:function(path) -> Engine"; each module imports its framework itself
ENGINES = {
    "ort-cpu": "rnnport.runtime.ort:open_cpu",
    "ort-cuda": "rnnport.runtime.ort:open_cuda",
    "openvino": "rnnport.runtime.openvino:open_cpu",
    "reference": "rnnport.runtime.reference:open_reference",
}


def open_engine(name: str, path: str) -> Engine:
    """Open the model file with the engine of that name.

    Raises:
        RequestError: there is no engine of that name.
        MissingExtraError: the engine's package is not installed.
        DeviceError: the engine's device does not work here.
        ModelFileError: the file cannot be read.
    """
    if name not in ENGINES:
        raise RequestError(f"unknown engine '{name}'; there are {', '.join(ENGINES)}")
    module, function = ENGINES[name].split(":")
    return cast(Engine, getattr(import_module(module), function)(path))
