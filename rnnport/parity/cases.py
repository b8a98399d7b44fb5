"""The seeded grid of shapes, lengths, states and chunk splits that a comparison runs over."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rnnport.errors import RequestError
from rnnport.spec import ModelSpec, TimeSpec

BATCHES = (1, 2, 7)
DEFAULT_TIME = 10
DRIFT_STEPS = 1000  # that a streaming file is followed for
DRIFT_CHUNK = 20  # steps of each call on the way
DRIFT_ROWS = 32
DRIFT_REPEATS = 4
MOST_SINGLE_STEPS = (
    16  # a longer sequence is not also cut into single steps: it would cost too much
)

Lengths = tuple[int, ...]
Chunks = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One way of calling a model; the numbers that are fed follow from ``seed`` alone.

    ``lengths`` is each row's true length where the model takes lengths, ``chunks`` the pieces that
    the candidate is also fed one after the other; ``states`` is ``"zero"`` (the spec's initial
    states) or ``"random"``.
    """

    batch: int
    time: int
    lengths: Lengths | None = None
    chunks: Chunks | None = None
    states: str = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.lengths is not None and (
            len(self.lengths) != self.batch
            or not all(0 < length <= self.time for length in self.lengths)
        ):
            raise RequestError(
                f"lengths {self.lengths} do not fit batch {self.batch} and time {self.time}: "
                "one length from 1 to the time for each row"
            )
        if self.chunks is not None and (sum(self.chunks) != self.time or min(self.chunks) < 1):
            raise RequestError(f"chunks {self.chunks} do not add up to time {self.time}")
        if self.states not in ("zero", "random"):
            raise RequestError(f"states '{self.states}' are neither 'zero' nor 'random'")

    @property
    def ragged(self) -> bool:
        """Whether some row is shorter than the padding."""
        return self.lengths is not None and min(self.lengths) < self.time

    def __str__(self) -> str:
        words = [f"batch {self.batch}", f"time {self.time}"]
        if self.lengths is not None:
            words.append("lengths " + ",".join(map(str, self.lengths)))
        if self.chunks is not None:
            words.append("chunks " + _brief(self.chunks))
        if self.states == "random":
            words.append("random states")
        return ", ".join(words)


def grid(spec: ModelSpec, seed: int = 0, time: int | None = None) -> tuple[Case, ...]:
    """Cases that cover every pair of batch, time, lengths, states and chunk split.

    ``time`` is T of the times 1, 2, T, 3T (by default the forecaster's lookback, else 10), each
    moved to the nearest number of steps that ``spec.time`` accepts; a fixed axis of the spec stays
    as it is. The same spec and seed give the same cases.
    """
    draw = random.Random(seed)
    typical = time or _usual_time(spec)
    options = [
        option
        for option in itertools.product(
            _batches(spec),
            _times(spec, (1, 2, typical, 3 * typical)),
            ("full", "ragged") if spec.lengths else (None,),
            ("zero", "random") if spec.streaming else ("zero",),
            ("none", "first", "last", "single", "three") if spec.streaming else ("none",),
        )
        if _possible(spec, option)
    ]
    chosen = sorted(_pairwise(options, draw), key=options.index)
    cases = (
        Case(
            batch=batch,
            time=steps,
            lengths=_lengths(kind, batch, steps, split != "none", _step(spec.time), draw),
            chunks=_chunks(split, steps, spec.time, draw),
            states=states,
            seed=draw.randrange(2**32),
        )
        for batch, steps, kind, states, split in chosen
    )
    return tuple(dict.fromkeys(cases))


def drift_cases(spec: ModelSpec, seed: int = 0, time: int | None = None) -> tuple[Case, ...]:
    """Cases that show how far a lossy file strays; the same spec and seed give the same cases.

    A streaming file runs over 1,000 steps in equal chunks. Any other runs whole at the times T and
    3T (``time`` is T; see :func:`grid`), over rows enough to count decisions, half of the cases
    with rows of different lengths where the file takes lengths.
    """
    draw = random.Random(seed)
    batched = any(tensor.batch_axis is not None for tensor in spec.data_inputs())
    batch = spec.fixed_batch() or (DRIFT_ROWS if batched else 1)
    if spec.streaming:
        chunk = _times(spec, (DRIFT_CHUNK,))[0]
        pieces = -(-DRIFT_STEPS // chunk)
        few = spec.fixed_batch() or min(batch, DRIFT_REPEATS)
        return (Case(few, chunk * pieces, None, (chunk,) * pieces, seed=draw.randrange(2**32)),)
    cases, typical = [], time or _usual_time(spec)
    for steps in _times(spec, (typical, 3 * typical)):
        for repeat in range(DRIFT_REPEATS):
            kind = (
                None if spec.lengths is None else "ragged" if repeat % 2 and steps > 1 else "full"
            )
            lengths = _lengths(kind, batch, steps, True, _step(spec.time), draw)
            cases.append(Case(batch, steps, lengths, seed=draw.randrange(2**32)))
    return tuple(cases)


Option = tuple[int, int, str | None, str, str]


def _pairwise(options: Sequence[Option], draw: random.Random) -> set[Option]:
    """Options that together hold every pair of values that any option holds; greedy."""
    pairs = {option: set(itertools.combinations(enumerate(option), 2)) for option in options}
    open_pairs = set().union(*pairs.values()) if pairs else set()
    order = list(options)
    draw.shuffle(order)
    chosen: set[Option] = set()
    # batch × time is always complete, and the richest case (last of all) is always among them
    for batch, steps in sorted({option[:2] for option in options}):
        fitting = [option for option in order if option[:2] == (batch, steps)]
        best = max(fitting, key=lambda option: len(pairs[option] & open_pairs))
        chosen.add(best)
        open_pairs -= pairs[best]
    if options:
        chosen.add(options[-1])
        open_pairs -= pairs[options[-1]]
    while open_pairs:
        best = max(order, key=lambda option: len(pairs[option] & open_pairs))
        chosen.add(best)
        open_pairs -= pairs[best]
    return chosen


def _possible(spec: ModelSpec, option: Option) -> bool:
    batch, steps, kind, _, split = option
    if kind == "ragged" and (steps < 2 or (batch == 1 and split != "none")):
        return False
    pieces = steps // _step(spec.time)
    if split == "none":
        return True
    if split == "single":
        return 2 < pieces <= MOST_SINGLE_STEPS
    return pieces >= {"first": 2, "last": 3, "three": 4}[split]


def _batches(spec: ModelSpec) -> tuple[int, ...]:
    fixed = spec.fixed_batch()
    if fixed is not None:
        return (fixed,)
    batched = any(tensor.batch_axis is not None for tensor in spec.data_inputs())
    return BATCHES if batched else (1,)


def _times(spec: ModelSpec, wanted: Iterable[int]) -> tuple[int, ...]:
    for tensor in spec.data_inputs():
        if tensor.time_axis is not None and isinstance(tensor.shape[tensor.time_axis], int):
            return (int(tensor.shape[tensor.time_axis]),)
    if all(tensor.time_axis is None for tensor in spec.data_inputs()):
        return (1,)
    return tuple(sorted({_nearest(steps, spec.time) for steps in wanted}))


def _usual_time(spec: ModelSpec) -> int:
    return DEFAULT_TIME if spec.series is None else spec.series.lookback


def _step(accepted: TimeSpec) -> int:
    """The smallest piece that a sequence may be cut into."""
    return -(-accepted.min // accepted.multiple) * accepted.multiple


def _nearest(steps: int, accepted: TimeSpec) -> int:
    least = _step(accepted)
    nearest = max(least, -(-steps // accepted.multiple) * accepted.multiple)
    if accepted.max is None or nearest <= accepted.max:
        return nearest
    return max(least, accepted.max // accepted.multiple * accepted.multiple)


def _lengths(
    kind: str | None, batch: int, steps: int, cut: bool, least: int, draw: random.Random
) -> Lengths | None:
    """Each row's length, in no order: a tie from three rows on, at least one row padded."""
    if kind is None:
        return None
    if kind == "full":
        return (steps,) * batch
    lengths = [draw.randint(min(least, steps - 1), steps - 1) for _ in range(batch)]
    if batch > 1:
        # uncut, the longest row may be padded too; a piece in which every row has ended already
        # is no call that an application makes
        lengths[0] = steps if cut else draw.choice((steps, steps - 1))
    if batch > 2:
        lengths[2] = lengths[1]
    draw.shuffle(lengths)
    return tuple(lengths)


def _chunks(split: str, steps: int, accepted: TimeSpec, draw: random.Random) -> Chunks | None:
    if split == "none":
        return None
    least = _step(accepted)
    pieces = steps // least
    rest = steps - pieces * least
    if split == "single":
        cut = [1] * pieces
    elif split == "first":
        cut = [1, pieces - 1]
    elif split == "last":
        cut = [pieces - 1, 1]
    else:
        middle = draw.randint(1, pieces - 3)
        cut = [1, middle, pieces - 1 - middle]
    chunks = [piece * least for piece in cut]
    chunks[-1] += rest
    return tuple(chunks)


def _brief(chunks: Iterable[int]) -> str:
    """Chunks as a person writes them: ``1+29``, ``10×1``."""
    runs = [(size, len(list(group))) for size, group in itertools.groupby(chunks)]
    return "+".join(str(size) if count == 1 else f"{count}×{size}" for size, count in runs)
