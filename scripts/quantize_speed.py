"""How fast quantized files run on a stock ONNX Runtime beside the fp32 file that they came from."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from layer_files import Array, Rows, open_model, ours, uniform_layer
from torch import Tensor, nn

import rnnport
from rnnport.graph.recurrent import STATES

BATCHES, TIMES = (1, 32), (1, 100)
LETTERS = 32
FORMS = {
    "int8": ("int8", False),
    "int8 inline": ("int8", True),
    "bf16": ("bf16", False),
    "bf16 inline": ("bf16", True),
}
AGAIN = "fp32 again"  # its ratio is the noise of the machine
SAMPLE = 2e-3  # seconds of one sample at least: a shorter call is repeated in it
ROUNDS, MORE_ROUNDS = (15, 101), (51, 501)  # at least, at most
ASKED = 1.1  # a shape where a form seems slower than this is measured again, for longer


class Text(nn.Module):
    """Letters in, scores of the next letter out, at every step."""

    def __init__(self, cell: Callable[..., nn.RNNBase]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, 128)
        self.recurrent = cell(128, 256, batch_first=True)
        self.head = nn.Linear(256, LETTERS)

    def forward(self, letters: Tensor) -> Tensor:
        scores: Tensor = self.head(self.recurrent(self.embedding(letters))[0])
        return scores


@dataclass(frozen=True)
class Ratios:
    """Medians over rounds of the processor time of each form over that of fp32 in the round."""

    model: str
    batch: int
    time: int
    rounds: int
    fp32_us: float  # as the machine was; the ratios are the point
    ratios: dict[str, float]
    folded: bool  # ONNX Runtime makes of every form, as it loads it, the graph of the fp32 file


def speeds(cells: tuple[str, ...], sizes: tuple[int, ...], budget: float) -> Iterator[Ratios]:
    """The ratios of single layers, of text models, and of the recipes' files.

    Args:
        cells: LSTM, GRU, RNN.
        sizes: the hidden sizes of single layers, whose input is as wide.
        budget: seconds for each shape.
    """
    for name, model in models(cells, sizes):
        files = {"fp32": model} | {form: ours(model, *how) for form, how in FORMS.items()}
        sessions = {form: open_model(made) for form, made in files.items()}
        sessions[AGAIN] = open_model(model)
        graphs = [optimized(made) for made in files.values()]
        folded = all(graph == graphs[0] for graph in graphs)
        for batch, steps in product(BATCHES, TIMES):
            found = measured(name, sessions, batch, steps, ROUNDS, budget, folded)
            if (
                max(found.ratios[form] for form in FORMS) > ASKED
            ):  # on a busy machine a few rounds can say this
                found = measured(name, sessions, batch, steps, MORE_ROUNDS, 5 * budget, folded)
            yield found


def models(cells: tuple[str, ...], sizes: tuple[int, ...]) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Everything that is timed, by its name."""
    for op, hidden in product(cells, sizes):
        yield f"{op} {hidden}→{hidden}", uniform_layer(op, hidden, hidden, 0).model()
    yield from text_models(cells)
    for path in sorted((Path(__file__).resolve().parent.parent / "models").glob("*/model.onnx")):
        yield path.parent.name, onnx.load(path)


def text_models(cells: tuple[str, ...]) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Embedding(32, 128), a layer 128→256 and a linear head, exported by us."""
    known: dict[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU}
    for name, cell in known.items():
        if name in cells:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "text.onnx"
                torch.manual_seed(0)
                letters = torch.randint(0, LETTERS, (2, 5))
                rnnport.export(Text(cell), (letters,), path, verify=False)
                yield f"Embedding + {name} 128→256 + Linear", onnx.load(path)


def optimized(model: onnx.ModelProto) -> Counter[tuple[object, ...]]:
    """What ONNX Runtime makes of a model as it loads it: operators, and shapes of weights."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        graph = onnx.load(path).graph
    operators = Counter[tuple[object, ...]]((node.domain, node.op_type) for node in graph.node)
    weights = [w for w in graph.initializer if w.dims]
    return operators + Counter((weight.data_type, *weight.dims) for weight in weights)


def measured(
    name: str,
    sessions: Mapping[str, onnxruntime.InferenceSession],
    batch: int,
    steps: int,
    limits: tuple[int, int],
    budget: float,
    folded: bool,
) -> Ratios:
    """Run all forms in turn, drawn anew each round, so that a busy machine hits them alike."""
    feeds = made_feeds(sessions["fp32"], batch, steps)
    for session in sessions.values():
        session.run(None, feeds)
    longest = max(_seconds(session, feeds, 1) for session in sessions.values())
    repeats = max(1, int(SAMPLE / longest))
    least, most = limits
    rounds = int(min(most, max(least, budget / (longest * repeats * len(sessions)))))
    samples: dict[str, list[float]] = {form: [] for form in sessions}
    shuffle = np.random.default_rng(0)
    for _ in range(rounds):
        for form in shuffle.permutation(list(sessions)):
            samples[form].append(_seconds(sessions[form], feeds, repeats))
    base = samples.pop("fp32")
    ratios = {
        form: statistics.median(mine / theirs for mine, theirs in zip(taken, base, strict=True))
        for form, taken in samples.items()
    }
    return Ratios(name, batch, steps, rounds, 1e6 * statistics.median(base), ratios, folded)


def _seconds(
    session: onnxruntime.InferenceSession, feeds: Mapping[str, Array], repeats: int
) -> float:
    """Processor seconds of one call, the mean of some: all of it runs in this thread."""
    start = time.thread_time()
    for _ in range(repeats):
        session.run(None, feeds)
    return (time.thread_time() - start) / repeats


def made_feeds(session: onnxruntime.InferenceSession, batch: int, steps: int) -> dict[str, Array]:
    """Random inputs: letters where whole numbers are asked for, lengths full, states zero."""
    draw, feeds = np.random.default_rng(0), dict[str, Array]()
    known = {"batch": batch, "time": steps}
    for tensor in session.get_inputs():
        shape = [known.get(axis, axis) for axis in tensor.shape]
        if tensor.type == "tensor(int64)":
            letters = draw.integers(0, LETTERS, shape)
            feeds[tensor.name] = letters if len(shape) > 1 else np.full(shape, steps)
        elif tensor.name in STATES:
            feeds[tensor.name] = np.zeros(shape, np.float32)
        else:
            feeds[tensor.name] = draw.standard_normal(shape).astype(np.float32)
    return feeds


def speed_table(found: list[Ratios]) -> Rows:
    """Rows for a terminal, the head first."""
    forms = (*FORMS, AGAIN)
    rows: Rows = [("model", "batch", "time", "fp32 µs", *forms, "folds")]
    for each in found:
        shape = (each.model, str(each.batch), str(each.time), f"{each.fp32_us:,.0f}")
        rows.append((*shape, *(f"{each.ratios[form]:.2f}" for form in forms), _yes(each.folded)))
    worst = {form: max(each.ratios[form] for each in found) for form in forms}
    all_folded = _yes(all(each.folded for each in found))
    slowest = [f"{ratio:.2f}" for ratio in worst.values()]
    return [*rows, ("the slowest", "", "", "", *slowest, all_folded)]


def _yes(answer: bool) -> str:
    return "yes" if answer else "NO"
