"""The plots of a quantization's account: drift over time, weights, sensitivity; as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from rnnport.graph.quantize.histograms import Histogram
from rnnport.graph.quantize.report import Sensitivity
from rnnport.parity.drift import Drift
from rnnport.parity.plots import BLUE, COLOURS, GREY, LEAST, MOST_LINES, plain, svg

MOST_LAYERS = 12  # a page with more shows the first


def drift_over_time(drift: Mapping[str, Drift], salt: str) -> str:
    """The RMS error of each quarter of time, as a part of the output's own size; SVG or ""."""
    timed = {name: each for name, each in drift.items() if each.quarters is not None}
    chosen = sorted(timed, key=lambda name: -timed[name].relative)[:MOST_LINES]
    return svg(lambda: _drift({name: timed[name] for name in chosen}), salt) if chosen else ""


def weights_before_and_after(histograms: Sequence[Histogram], salt: str) -> str:
    """A small histogram for each layer; SVG or ""."""
    return svg(lambda: _weights(histograms[:MOST_LAYERS]), salt) if histograms else ""


def sensitivity_by_layer(sensitivity: Sequence[Sensitivity], salt: str) -> str:
    """A bar for each recurrent layer quantized alone; SVG or ""."""
    return svg(lambda: _sensitivity(sensitivity), salt) if sensitivity else ""


def _drift(drift: Mapping[str, Drift]) -> Figure:
    figure = Figure(figsize=(7.6, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for (name, each), colour in zip(drift.items(), COLOURS, strict=False):
        parts = np.asarray(each.quarters) / (each.scale or 1.0)
        middles = (np.arange(len(parts)) + 0.5) / len(parts)
        axes.plot(middles, np.clip(parts, LEAST, None), "o-", color=colour, label=plain(name))
    axes.set_yscale("log")
    axes.set_xlim(0, 1)
    axes.set_xlabel("time, as a part of the sequence")
    axes.set_ylabel("RMS error / RMS of the output")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5)
    return figure


def _weights(histograms: Sequence[Histogram]) -> Figure:
    rows = -(-len(histograms) // 2)
    figure = Figure(figsize=(7.6, 1.9 * rows), layout="constrained")
    for place, each in enumerate(histograms):
        axes = figure.add_subplot(rows, 2, place + 1)
        axes.stairs(each.before, each.edges, fill=True, color=GREY, label="before")
        axes.stairs(each.after, each.edges, color=BLUE, linewidth=1.2, label="after")
        axes.set_title(plain(each.node), fontsize=9.5)
        axes.set_yscale("symlog")
        axes.tick_params(labelsize=8)
        if place == 0:
            axes.legend(fontsize=8)
    return figure


def _sensitivity(sensitivity: Sequence[Sensitivity]) -> Figure:
    figure = Figure(figsize=(7.6, 0.8 + 0.34 * len(sensitivity)), layout="constrained")
    axes = figure.add_subplot()
    shown = list(reversed(sensitivity))
    values = [each.relative for each in shown]
    axes.barh([plain(each.node) for each in shown], values, height=0.6, color=BLUE)
    for row, each in enumerate(shown):
        text = plain(f" {each.relative:.2g} of {each.output}")
        axes.annotate(text, (each.relative, row), va="center", fontsize=8.5)
    axes.set_xlim(0, 1.5 * max(values) or 1.0)
    axes.set_xlabel("RMS error / RMS of the output, this layer quantized alone")
    return figure
