"""An answer depends neither on batch-mates, nor on chunks, nor on threads: not in the last bit."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from native_layers import kinds, model_of, name_of, random_call, run, session_of

ALL = [kind for precision in ("fp32", "bf16", "int8") for kind in kinds(precision)]
EVERY = pytest.mark.parametrize("kind", ALL, ids=name_of)
NEXT = {"initial_h": "Y_h", "initial_c": "Y_c"}


def row_of(feeds, row):
    axes = {"X": 1, "sequence_lens": 0, "initial_h": 1, "initial_c": 1}
    return {name: np.take(array, [row], axes[name]) for name, array in feeds.items()}


@EVERY
@pytest.mark.parametrize("batch", [2, 3, 4, 5, 13, 33])
def test_a_row_alone_answers_as_in_the_batch(kind, batch):
    layer = replace(kind, hidden=27, input=9, direction="bidirectional")
    feeds = random_call(layer, time=11, batch=batch, lengths=True, states=True, size=1.5)
    together = run(layer, feeds)
    for row in {0, batch // 2, batch - 1}:
        for name, answer in run(layer, row_of(feeds, row)).items():
            assert (answer == np.take(together[name], [row], -2)).all(), (name, row)


@EVERY
def test_pieces_answer_as_the_whole(kind):
    layer = replace(kind, hidden=27, input=9)
    feeds = random_call(layer, time=60, batch=3, states=True, size=3)
    whole = run(layer, feeds)
    session = session_of(model_of(layer, tuple(feeds)))
    names = [output.name for output in session.get_outputs()]
    parts, state = [], {name: feeds[name] for name in NEXT if name in feeds}
    for piece in np.split(feeds["X"], [1, 2, 5, 30, 31]):
        answers = dict(zip(names, session.run(None, {"X": piece, **state}), strict=True))
        state = {name: answers[NEXT[name]] for name in state}
        parts.append(answers["Y"])
    assert (np.concatenate(parts) == whole["Y"]).all()
    assert (state["initial_h"] == whole["Y_h"]).all()


@EVERY
def test_threads_answer_as_one(kind):
    layer = replace(kind, hidden=64, input=64, direction="bidirectional")
    feeds = random_call(layer, time=20, batch=33, lengths=True)
    one, four = run(layer, feeds), run(layer, feeds, threads=4)
    for name in one:
        assert (one[name] == four[name]).all()


@EVERY
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e-42, 3e38])
def test_a_row_with_extreme_numbers_leaves_the_others_alone(kind, bad):
    layer = replace(kind, hidden=27, input=9)
    feeds = random_call(layer, time=6, batch=5, states=True)
    before = run(layer, feeds)
    feeds["X"][2, 1, 3] = bad
    feeds["initial_h"][0, 3, 5] = bad
    after = run(layer, feeds)
    for name in before:
        for row in (0, 2, 4):
            assert (before[name][..., row, :] == after[name][..., row, :]).all()
    if np.isnan(bad):
        assert np.isnan(after["Y"][2:, 0, 1]).all()
        assert np.isnan(after["Y"][:, 0, 3]).any()


def test_two_sessions_in_eight_threads_answer_as_one():
    sessions, wanted = [], []
    for kind in kinds("int8")[:2]:
        layer = replace(kind, hidden=64, input=64, direction="bidirectional")
        feeds = [random_call(layer, time, batch=33, seed=time) for time in (1, 20, 50)]
        session = session_of(model_of(layer), threads=2)
        sessions.append((session, feeds))
        wanted.append([session.run(None, each) for each in feeds])

    def work(index):
        session, feeds = sessions[index % 2]
        return [[session.run(None, each) for each in feeds] for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        for index, rounds in enumerate(pool.map(work, range(8))):
            for answers in rounds:
                for one, other in zip(wanted[index % 2], answers, strict=True):
                    assert all((a == b).all() for a, b in zip(one, other, strict=True))
