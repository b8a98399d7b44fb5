"""Recurrent layers of every kind: the file equals PyTorch at shapes that were not the example's."""

import numpy as np
import onnx
import pytest
import torch
from exported_modules import (
    FEATURES,
    HIDDEN,
    Functional,
    Layers,
    Named,
    Stateful,
    assert_close,
    open_file,
    run_file,
    tensors,
)
from torch import nn

from rnnport.porting.export import export_module

SHAPES = [(1, 1), (1, 7), (2, 1), (7, 30), (64, 2), (2, 1000)]


def exported(module, args, path, **settings):
    """The file of a module, judged here and not by the exporter's own proof."""
    export_module(module, args, path, verify=False, **settings)
    return open_file(path)


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(
    ("kind", "settings", "layers"),
    [
        (nn.LSTM, {"num_layers": 2}, ["LSTM"] * 2),
        (nn.LSTM, {"num_layers": 1, "bidirectional": True, "bias": False}, ["LSTM"]),
        (nn.GRU, {"num_layers": 4}, ["GRU"] * 4),
        (nn.GRU, {"num_layers": 2, "bidirectional": True}, ["GRU"] * 2),
        (nn.RNN, {"num_layers": 2}, ["RNN"] * 2),
        (nn.RNN, {"nonlinearity": "relu", "bias": False}, ["RNN"]),
    ],
)
def test_every_cell_is_one_node_a_layer_and_equals_torch(tmp_path, kind, settings, layers):
    torch.manual_seed(1)
    module = Layers(kind, batch_first=True, **settings).eval()
    session = exported(module, tensors(3, 6, FEATURES), tmp_path / "m.onnx")
    found = operators(tmp_path / "m.onnx")
    assert [name for name in found if name in ("LSTM", "GRU", "RNN")] == layers
    assert "Loop" not in found
    assert len(found) < 8 + 3 * len(layers)  # nothing unrolled, nothing computed from shapes
    for batch, time in SHAPES:
        x = tensors(batch, time, FEATURES, seed=time)
        with torch.no_grad():
            assert_close(run_file(session, x)["output"], module(x))


def test_time_first_stays_time_first(tmp_path):
    module = Layers(nn.GRU, num_layers=2, bidirectional=True).eval()
    report = export_module(module, tensors(6, 3, FEATURES), tmp_path / "m.onnx")
    assert report.spec.inputs[0].shape == ("time", "batch", FEATURES)
    assert (report.spec.inputs[0].batch_axis, report.spec.inputs[0].time_axis) == (1, 0)
    assert report.spec.outputs[0].shape == ("time", "batch", 3)
    assert report.parity.ok


def test_unbatched_input_has_no_batch_axis(tmp_path):
    module = Layers(nn.LSTM, num_layers=2).eval()
    report = export_module(module, tensors(6, FEATURES), tmp_path / "m.onnx")
    assert report.spec.inputs[0].shape == ("time", FEATURES)
    x = tensors(300, FEATURES)
    with torch.no_grad():
        assert_close(run_file(open_file(tmp_path / "m.onnx"), x)["output"], module(x))


@pytest.mark.parametrize("shape", [(1, 6), (3, 1)])
def test_an_example_of_one_fixes_nothing(tmp_path, shape):
    module = Layers(nn.GRU, batch_first=True).eval()
    session = exported(module, tensors(*shape, FEATURES), tmp_path / "m.onnx")
    x = tensors(5, 9, FEATURES)
    with torch.no_grad():
        assert_close(run_file(session, x)["output"], module(x))


def test_given_states_and_dictionaries_keep_their_names_and_layout(tmp_path):
    module = Stateful().eval()
    state = (torch.zeros(2, 3, HIDDEN), torch.zeros(2, 3, HIDDEN))
    report = export_module(module, (tensors(3, 6, FEATURES), state), tmp_path / "m.onnx")
    shapes = {tensor.name: tensor.shape for tensor in report.spec.inputs}
    state_shape = (2, "batch", HIDDEN)
    assert shapes == {
        "x": ("batch", "time", FEATURES),
        "state_0": state_shape,
        "state_1": state_shape,
    }
    outputs = [tensor.name for tensor in report.spec.outputs]
    assert outputs == ["y", "state_0_out", "state_1_out"]
    x, h, c = tensors(7, 9, FEATURES), tensors(2, 7, HIDDEN, seed=1), tensors(2, 7, HIDDEN, seed=2)
    found = run_file(open_file(tmp_path / "m.onnx"), x, h, c)
    with torch.no_grad():
        expected = module(x, (h, c))
    assert_close(found["y"], expected["y"])
    assert_close(found["state_0_out"], expected["state"][0])
    assert_close(found["state_1_out"], expected["state"][1])


def test_states_left_out_begin_at_zero_for_any_batch(tmp_path):
    module = Stateful().eval()
    session = exported(module, tensors(3, 6, FEATURES), tmp_path / "m.onnx")
    nodes = [n for n in onnx.load(tmp_path / "m.onnx").graph.node if n.op_type == "LSTM"]
    assert all(len(node.input) < 6 or not node.input[5] for node in nodes)  # no initial_h
    x = tensors(11, 4, FEATURES)
    with torch.no_grad():
        assert_close(run_file(session, x)["y"], module(x)["y"])


class Filled(nn.Module):
    """Begins from zeros of which it fills a part."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, 2, batch_first=True)

    def forward(self, x):
        state = torch.zeros(2, x.size(0), HIDDEN).to(x.device)
        state[1, :, 3:].fill_(0.5)
        return self.rnn(x, state)[0]


def test_a_state_that_is_filled_in_place_is_not_taken_for_zero(tmp_path):
    module = Filled().eval()
    session = exported(module, tensors(3, 6, FEATURES), tmp_path / "m.onnx")
    x = tensors(11, 4, FEATURES)
    with torch.no_grad():
        assert_close(run_file(session, x)["output"], module(x))


def test_named_tuples_keywords_and_train_mode(tmp_path):
    module = Named().train()
    kwargs = {"shift": torch.ones(1)}
    inputs = {"x": ("batch", "time", FEATURES), "shift": (1,)}
    session = exported(
        module, tensors(3, 6, FEATURES), tmp_path / "m.onnx", kwargs=kwargs, inputs=inputs
    )
    assert module.training
    x = tensors(2, 9, FEATURES)
    found = run_file(session, x, np.float32([0.5]))
    with torch.no_grad():
        expected = module.eval()(x, shift=torch.tensor([0.5]))
    assert_close(found["logits"], expected.logits)
    assert_close(found["hidden"], expected.hidden)


def test_names_can_be_given(tmp_path):
    report = export_module(
        Layers(nn.GRU, batch_first=True),
        tensors(3, 6, FEATURES),
        tmp_path / "m.onnx",
        inputs=["frames"],
        outputs=["scores"],
    )
    assert [tensor.name for tensor in report.spec.inputs] == ["frames"]
    assert [tensor.name for tensor in report.spec.outputs] == ["scores"]


def old_weight_norm(module):
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(module.rnn, "weight_hh_l0")
    return module


def new_weight_norm(module):
    nn.utils.parametrizations.weight_norm(module.rnn, "weight_ih_l0")
    return module


@pytest.mark.slow
@pytest.mark.parametrize("change", [old_weight_norm, new_weight_norm])
def test_weight_norm_is_folded_into_the_weights(tmp_path, change):
    module = change(Layers(nn.LSTM, batch_first=True)).eval()
    session = exported(module, tensors(3, 6, FEATURES), tmp_path / "m.onnx")
    x = tensors(4, 50, FEATURES)
    with torch.no_grad():
        assert_close(run_file(session, x)["output"], module(x))


def test_a_subclass_that_calls_torch_itself_is_seen(tmp_path):
    module = Functional(FEATURES, HIDDEN, 2, batch_first=True).eval()
    session = exported(module, tensors(3, 6, FEATURES), tmp_path / "m.onnx")
    assert operators(tmp_path / "m.onnx").count("LSTM") == 2
    x = tensors(4, 50, FEATURES)
    with torch.no_grad():
        assert_close(run_file(session, x)["output"], module(x))


@pytest.mark.slow
@pytest.mark.parametrize("opset", [20, 24])
def test_the_opset_is_the_one_that_was_asked_for(tmp_path, opset):
    module = Layers(nn.LSTM, batch_first=True)
    path = tmp_path / "m.onnx"
    report = export_module(module, tensors(3, 6, FEATURES), path, opset=opset)
    assert {each.domain: each.version for each in onnx.load(path).opset_import} == {"": opset}
    assert report.parity.ok
