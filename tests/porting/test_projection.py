"""LSTMs with projection: what torch's own ``proj_size`` answers, whole, packed and in pieces."""

import onnx
import pytest
import torch
from exported_modules import (
    FEATURES,
    HIDDEN,
    Learned,
    Packed,
    Stateful,
    Tags,
    assert_close,
    in_pieces,
    open_file,
    run_file,
    tensors,
)
from torch import nn

from rnnport.errors import UnsupportedModelError
from rnnport.porting.export import export_module

PROJECTED = 4
X = tensors(3, 6, FEATURES)
LENGTHS = torch.tensor([4, 6, 2])
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's, of oneDNN


def projected(module, layers=2, **settings):
    """The module with its layer narrowed to ``PROJECTED``."""
    torch.manual_seed(2)
    settings |= {"batch_first": module.rnn.batch_first}
    module.rnn = nn.LSTM(FEATURES, HIDDEN, layers, proj_size=PROJECTED, **settings)
    if hasattr(module, "head"):
        module.head = nn.Linear(PROJECTED, 3)
    return module.eval()


def assert_equal(path, module, *inputs):
    found = run_file(open_file(path), *torch.utils._pytree.tree_leaves(inputs))
    with torch.no_grad():
        leaves = torch.utils._pytree.tree_leaves(module(*inputs))
    expected = [leaf for leaf in leaves if leaf is not None]
    for actual, wanted in zip(found.values(), expected, strict=True):
        assert_close(actual, wanted)


@pytest.mark.parametrize(
    ("layers", "settings"),
    [(1, {}), (2, {"bidirectional": True}), (3, {"bias": False})],
    ids=["one", "both-directions", "no-bias"],
)
def test_answers_and_given_states_equal_torch(tmp_path, layers, settings):
    module = projected(Stateful(), layers, **settings)
    rows = layers * (2 if "bidirectional" in settings else 1)

    def inputs(batch, time):
        sizes = PROJECTED, HIDDEN
        x = tensors(batch, time, FEATURES, seed=time)
        return x, tuple(tensors(rows, batch, size, seed=size) for size in sizes)

    export_module(module, inputs(3, 6), tmp_path / "m.onnx", verify=False)
    nodes = onnx.load(tmp_path / "m.onnx").graph.node
    assert [node.op_type for node in nodes].count("LSTM") == layers
    for batch, time in [(1, 1), (2, 1), (7, 2), (2, 300)]:
        assert_equal(tmp_path / "m.onnx", module, *inputs(batch, time))


def test_packed_rows_end_at_their_lengths(tmp_path):
    module = projected(Packed(), bidirectional=True)
    export_module(module, (X, LENGTHS), tmp_path / "m.onnx", verify=False)
    for lengths in ([4, 6, 2], [5], [3, 6, 3]):
        x = tensors(len(lengths), 7, FEATURES)
        assert_equal(tmp_path / "m.onnx", module, x, torch.tensor(lengths))


def test_pieces_equal_the_whole_and_the_states_are_wide(tmp_path):
    module = projected(Tags())
    report = export_module(module, (X, LENGTHS), tmp_path / "m.onnx", stream=True)
    assert report.parity.ok
    assert [state.shape for state in report.spec.states] == [("batch", 2, HIDDEN)] * 2
    x, lengths = tensors(3, 20, FEATURES), torch.tensor([20, 3, 9])
    found, states = in_pieces(
        open_file(tmp_path / "m.onnx"),
        report.spec,
        x.numpy(),
        [1, 7, 12],
        lengths=lambda start, stop: (lengths - start).clamp(0, stop - start),
    )
    with torch.no_grad():
        assert_close(found, module(x, lengths))
        _, (h, _) = module.rnn(x[:1])
        weights = torch.stack([module.rnn.weight_hr_l0, module.rnn.weight_hr_l1])
    carried = torch.from_numpy(states["state.rnn.h"][0])  # m, of which h is the projection
    assert_close((weights @ carried.unsqueeze(-1)).squeeze(-1).numpy(), h[:, 0])


def test_a_learned_first_state_is_carried_as_what_it_stands_for(tmp_path):
    class LearnedBoth(Learned):
        def forward(self, x):
            h = self.first.expand(-1, x.size(0), -1).contiguous()
            return self.rnn(x, (h, x.new_zeros(2, x.size(0), HIDDEN)))[0]

    module = projected(LearnedBoth())
    module.first = nn.Parameter(tensors(2, 1, PROJECTED, seed=5))
    report = export_module(module, X, tmp_path / "m.onnx", stream=True)
    x = tensors(2, 9, FEATURES)
    found, _ = in_pieces(open_file(tmp_path / "m.onnx"), report.spec, x.numpy(), [1, 8])
    with torch.no_grad():
        assert_close(found, module(x))


def test_a_projection_that_loses_the_given_state_is_refused(tmp_path):
    module = projected(Stateful(), 1)
    with torch.no_grad():
        module.rnn.weight_hr_l0[1] = module.rnn.weight_hr_l0[0]
    export_module(module, X, tmp_path / "zero.onnx", verify=False)
    assert_equal(tmp_path / "zero.onnx", module, X)
    state = (tensors(1, 3, PROJECTED), tensors(1, 3, HIDDEN))
    with pytest.raises(UnsupportedModelError, match="projection of 4 has rank 3 only"):
        export_module(module, (X, state), tmp_path / "m.onnx")


@pytest.mark.slow
def test_a_large_streaming_model_with_projection(tmp_path):
    torch.manual_seed(0)
    module = nn.LSTM(80, 1024, 3, proj_size=256, batch_first=True).eval()
    path = tmp_path / "m.onnx"
    report = export_module(module, tensors(2, 5, 80), path, stream=True, verify=False)
    x = tensors(2, 200, 80)
    found, states = in_pieces(open_file(path), report.spec, x.numpy(), [1, 7, 191, 1])
    with torch.no_grad():
        expected, (_, c) = module(x)
    assert_close(found, expected)
    assert_close(states["state.c"], c.transpose(0, 1))
