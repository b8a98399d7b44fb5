"""The pictures of a run: the loss, and its answers beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rnnport.data.types import Array
from rnnport.errors import MissingExtraError
from rnnport.files import replacing
from rnnport.spec import ModelSpec
from rnnport.training.folder import ANSWER_PLOTS, LOSS_PLOT
from rnnport.training.lesson import Row
from rnnport.training.model import Network
from rnnport.training.parts import Part

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
except ImportError as missing:
    raise MissingExtraError("matplotlib", "train", "drawing a run") from missing

_TRUTH, _ANSWER = "#444444", "#d1495b"
_MOST_PANELS = 8
_MOST_NAMED = 40  # more class names than this would only overlap


def plot_loss(folder: Path, history: Sequence[Row], kept: int) -> None:
    """Draw the loss of both parts over the epochs, and which epoch's weights were kept."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in history]
    for name, colour in (("train_loss", _TRUTH), ("validation_loss", _ANSWER)):
        if name in history[0]:
            values = [row[name] for row in history]
            axes.plot(epochs, values, color=colour, marker=".", label=name.replace("_", " "))
    axes.axvline(kept, color="#2e86ab", linestyle=":", label=f"kept: epoch {kept}")
    if all(row.get(name, 1.0) > 0 for row in history for name in ("train_loss", "validation_loss")):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="loss", title="Loss")
    axes.legend()
    _save(figure, folder / LOSS_PLOT)


def plot_answers(
    folder: Path, network: Network, part: Part, spec: ModelSpec, metrics: dict[str, Any], name: str
) -> None:
    """Draw the confusion matrix, or one forecast beside the truth, of the part called ``name``."""
    path = folder / ANSWER_PLOTS["classify" if spec.series is None else "forecast"]
    if spec.series is None:
        _save(_confusion(metrics["confusion"], spec.classes, name), path)
    else:
        _save(_forecast(network, part, spec, name), path)


def _confusion(counts: list[list[int]], classes: Sequence[str], name: str) -> Figure:
    size = min(14.0, max(4.5, 1.5 + 0.5 * len(classes)))
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    highest = max(max(row) for row in counts)
    axes.imshow(counts, cmap="Blues", vmin=0)
    if len(classes) <= _MOST_NAMED:
        places = range(len(classes))
        axes.set_xticks(places, classes, rotation=0 if max(map(len, classes)) < 4 else 90)
        axes.set_yticks(places, classes)
        for row in places:
            for column in places:
                _write_count(axes, counts[row][column], row, column, highest)
    axes.set(xlabel="answer", ylabel="truth", title=f"Confusion, {name} part")
    return figure


def _write_count(axes: Axes, count: int, row: int, column: int, highest: int) -> None:
    if count:
        colour = "white" if count > highest / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)


def _forecast(network: Network, part: Part, spec: ModelSpec, name: str) -> Figure:
    if spec.series is None:
        raise TypeError("a forecaster's spec describes its series")
    rows = torch.tensor([len(part) // 2])
    with torch.inference_mode():
        x = part.batch(rows).x
        answer: Array = network(x)[0].numpy()  # [horizon, targets]
    truth = part.truth(rows)[0]
    targets = spec.series.targets[:_MOST_PANELS]
    figure = Figure(figsize=(8, 1 + 2.2 * len(targets)), layout="constrained")
    panels = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    shown = min(spec.series.lookback, 4 * spec.series.horizon)
    for index, (target, axes) in enumerate(zip(targets, panels, strict=True)):
        before = x[0, -shown:, spec.series.columns.index(target)].numpy()
        ahead = range(1, spec.series.horizon + 1)
        axes.plot(range(1 - shown, 1), before, color=_TRUTH, alpha=0.5, label="seen")
        axes.plot(ahead, truth[:, index], color=_TRUTH, marker=".", markersize=3, label="truth")
        axes.plot(
            ahead, answer[:, index], color=_ANSWER, marker=".", markersize=3, label="forecast"
        )
        axes.axvline(0.5, color="#2e86ab", linestyle=":")
        axes.set_ylabel(target)
    panels[0].legend(loc="upper left")
    panels[0].set_title(f"One forecast of the {name} part, in the middle of it")
    panels[-1].set_xlabel("steps from now")
    return figure


def _save(figure: Figure, path: Path) -> None:
    with replacing(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120)
