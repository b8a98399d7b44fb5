"""A finished run as others use it: the trained module, its streaming form, and its spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnport import spec as spec_format
from rnnport.errors import MissingExtraError, ModelFileError, RequestError
from rnnport.files import replacing
from rnnport.spec import METADATA_KEY, ModelSpec
from rnnport.training.folder import CHECKPOINT, MODEL, read_recipe, resume_command
from rnnport.training.model import Network, build_network

try:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save
except ImportError as missing:
    raise MissingExtraError("safetensors", "train", "reading a trained run") from missing

_TIME = "example_time"
_EXAMPLE_BATCH = 3


@dataclass(frozen=True)
class TrainedRun:
    """A run folder's model, in evaluation mode: raw values in, the answer out.

    ``module`` takes x float32 ``[batch, time, features]`` and, where the spec has lengths, int64
    ``[batch]``; it gives probabilities ``[batch, classes]``, or a forecast
    ``[batch, horizon, targets]`` in raw units. ``streaming`` has the same weights and gives an
    answer for every step, ``[batch, time, …]``. ``example`` holds arguments by name.
    """

    folder: Path
    module: nn.Module
    streaming: nn.Module
    example: dict[str, Tensor]
    spec: ModelSpec


def save_model(folder: Path, weights: Mapping[str, Tensor], spec: ModelSpec, time: int) -> None:
    """Write the weights with what is needed to use them; ``time`` is a typical length."""
    # one key: safetensors writes several in no fixed order, and equal runs give equal files
    metadata = {METADATA_KEY: json.dumps(json.loads(spec.to_json()) | {_TIME: time})}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with replacing(folder / MODEL, overwrite=True) as temporary:
        temporary.write_bytes(save(plain, metadata=metadata))


def load_run(folder: Path) -> TrainedRun:
    """Load what ``rnnport train`` left in a folder.

    Raises:
        RequestError: the folder is not a run's, or its training has not ended.
        ModelFileError: the weights are damaged, or are not those of the recipe.
        SpecVersionError: a newer rnnport wrote the run.
    """
    recipe = read_recipe(folder)
    path = folder / MODEL
    if not path.is_file():
        left = "stopped before its end" if (folder / CHECKPOINT).exists() else "has not begun"
        raise RequestError(
            f"the training in {folder} {left}: {MODEL} is missing; {resume_command(folder)}"
        )
    weights, metadata = _read(path)
    if METADATA_KEY not in metadata:
        raise ModelFileError(f"{path} was not written by rnnport train: it holds no spec")
    spec = spec_format.parse(metadata[METADATA_KEY], str(path))
    time = int(json.loads(metadata[METADATA_KEY])[_TIME])
    whole = build_network(recipe.model, spec)
    streaming = build_network(recipe.model, spec, every_step=True)
    for network in (whole, streaming):
        _fill(network, weights, path)
    return TrainedRun(folder, whole, streaming, _example(spec, time), spec)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is truncated or damaged: {error}") from error


def _fill(network: Network, weights: Mapping[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise ModelFileError(
            f"{path} does not hold the weights of the recipe beside it: {detail}"
        ) from error
    network.eval()
    network.requires_grad_(False)


def _example(spec: ModelSpec, time: int) -> dict[str, Tensor]:
    """Sequences drawn from the spec's typical values; the first is as long as the time axis."""
    x = spec.data_inputs()[0]
    draw = np.random.default_rng(0)
    values = draw.normal(x.mean, x.std, size=(_EXAMPLE_BATCH, time, len(x.mean)))
    example = {x.name: torch.from_numpy(values.astype(np.float32))}
    if spec.lengths is not None:
        lengths = [time, *(max(1, time - 1 - row) for row in range(_EXAMPLE_BATCH - 1))]
        example[spec.lengths] = torch.tensor(lengths)
    return example


def provenance(recipe: Mapping[str, Any], data: str, sha256: str, seed: int) -> dict[str, Any]:
    """Where a model comes from; of a data file only the name, never the place."""
    from rnnport import __version__

    named = {**recipe, "data": {**recipe["data"], "source": data}}
    return {
        "recipe": named,
        "data": {"name": data, "sha256": sha256},
        "seed": seed,
        "versions": {"rnnport": __version__, "torch": str(torch.__version__)},
    }
