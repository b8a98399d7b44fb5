"""States as inputs and outputs: pieces equal the whole, whatever the module did with its states."""

import numpy as np
import pytest
import torch
from exported_modules import (
    FEATURES,
    HIDDEN,
    Keeping,
    LastStep,
    Layers,
    Learned,
    Stateful,
    Tags,
    Twice,
    assert_close,
    in_pieces,
    open_file,
    run_file,
    tensors,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rnnport.errors import UnsupportedModelError
from rnnport.porting.export import export_module

EXAMPLE = tensors(3, 6, FEATURES)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (Layers(nn.LSTM, num_layers=2, batch_first=True), ["rnn.h", "rnn.c"]),
        (Layers(nn.RNN, batch_first=True, bias=False), ["rnn.h"]),
        (Learned(), ["rnn.h"]),
        (Keeping(), ["rnn.h", "rnn.c"]),
        (nn.GRU(FEATURES, HIDDEN, batch_first=True), ["h"]),
        (
            Twice(),
            ["encoder.gru.h", "lstm.h", "lstm.c", "lstm.1.h", "lstm.1.c"],
        ),
    ],
    ids=["lstm", "rnn", "learned", "keeping", "bare", "twice"],
)
def test_pieces_equal_the_whole(tmp_path, module, names):
    report = export_module(module.eval(), EXAMPLE, tmp_path / "m.onnx", stream=True)
    spec = report.spec
    assert report.parity.ok
    assert [state.input for state in spec.states] == [f"state.{name}" for name in names]
    assert [state.output for state in spec.states] == [f"next.{name}" for name in names]
    by_input = sorted(spec.states, key=lambda state: state.input)
    assert by_input == sorted(spec.states, key=lambda state: state.output)
    assert all(state.shape[0] == "batch" for state in spec.states)
    session = open_file(tmp_path / "m.onnx")
    x = tensors(4, 48, FEATURES)
    with torch.no_grad():
        answer = module(x)
    expected = answer[0] if isinstance(answer, tuple) else answer
    for pieces in ([48], [1, 7, 40], [46, 1, 1], [1] * 48):
        assert_close(in_pieces(session, spec, x.numpy(), pieces)[0], expected)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    path = tmp_path_factory.mktemp("tagger") / "m.onnx"
    module = Tags().eval()
    example = (EXAMPLE, torch.tensor([4, 6, 2]))
    report = export_module(module, example, path, stream=True)
    return module, report, open_file(path)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data())
def test_lengths_and_any_cut_equal_the_whole(tagger, pieces, data):
    module, report, session = tagger
    time = sum(pieces)
    lengths = np.array(data.draw(st.lists(st.integers(1, time), min_size=1, max_size=4)))
    x = tensors(len(lengths), time, FEATURES, seed=time)
    found, states = in_pieces(
        session,
        report.spec,
        x.numpy(),
        pieces,
        lengths=lambda start, stop: np.clip(lengths - start, 0, stop - start),
    )
    with torch.no_grad():
        assert_close(found, module(x, torch.from_numpy(lengths)))
        for row, length in enumerate(lengths):
            _, (h, _) = module.rnn(x[row : row + 1, :length])
            assert_close(states["state.rnn.h"][row], h[:, 0])


def test_a_row_of_length_zero_keeps_its_state(tagger):
    _, report, session = tagger
    state = {s.input: tensors(2, 2, HIDDEN, seed=3).numpy() for s in report.spec.states}
    found = run_file(session, x=tensors(2, 5, FEATURES), lengths=np.array([0, 5]), **state)
    assert np.array_equal(found["next.rnn.h"][0], state["state.rnn.h"][0])
    assert np.array_equal(found["next.rnn.c"][0], state["state.rnn.c"][0])
    assert not np.allclose(found["next.rnn.h"][1], state["state.rnn.h"][1])


def test_the_initial_state_is_the_modules_own(tmp_path):
    module = Learned()
    report = export_module(module, EXAMPLE, tmp_path / "m.onnx", stream=True, verify=False)
    assert_close(np.float32(report.spec.states[0].initial), module.first[:, 0])
    zero = export_module(
        Layers(nn.GRU, batch_first=True), EXAMPLE, tmp_path / "z.onnx", stream=True, verify=False
    )
    assert zero.spec.states[0].initial == 0.0


def test_a_module_that_takes_its_states_streams_under_the_same_rule(tmp_path):
    state = (torch.zeros(2, 3, HIDDEN), torch.zeros(2, 3, HIDDEN))
    module = Stateful().eval()
    report = export_module(module, (EXAMPLE, state), tmp_path / "m.onnx", stream=True)
    inputs = [tensor.name for tensor in report.spec.inputs]
    assert inputs == ["x", "state.rnn.h", "state.rnn.c"]
    x = tensors(2, 20, FEATURES)
    with torch.no_grad():
        expected = module(x)["y"]
    found, _ = in_pieces(open_file(tmp_path / "m.onnx"), report.spec, x.numpy(), [3, 1, 16])
    assert_close(found, expected)


def test_a_bidirectional_layer_is_refused_by_name(tmp_path):
    module = nn.Sequential(LastStep(nn.GRU, bidirectional=True).rnn)
    with pytest.raises(UnsupportedModelError, match=r"bidirectional GRU of '0' cannot stream"):
        export_module(module, EXAMPLE, tmp_path / "m.onnx", stream=True)
    assert list(tmp_path.iterdir()) == []


class Pooled(nn.Module):
    """One answer for the whole sequence, which its last piece alone does not give."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0].mean(1)


def test_an_answer_that_needs_the_whole_sequence_is_refused_by_name(tmp_path):
    with pytest.raises(UnsupportedModelError, match="mean in the module itself runs over all") as e:
        export_module(Pooled(), EXAMPLE, tmp_path / "m.onnx", stream=True)
    assert e.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []
