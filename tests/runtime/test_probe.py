"""The probe: its hand-written bytes are what onnx reads, and its answer is what an LSTM gives."""

import numpy as np
import onnx
import torch

from rnnport.runtime.probe import probe_answer, probe_feeds, probe_model


def test_onnx_reads_the_bytes_as_a_valid_model():
    model = onnx.load_from_string(probe_model())
    onnx.checker.check_model(model, full_check=True)
    (node,) = model.graph.node
    assert (node.op_type, [*node.input], node.attribute[0].i) == ("LSTM", ["x", "w", "r"], 1)
    assert model.opset_import[0].version == 18


def test_the_answer_is_pytorchs():
    lstm = torch.nn.LSTM(1, 1, bias=False)
    with torch.no_grad():
        lstm.weight_ih_l0.fill_(1)
        lstm.weight_hh_l0.fill_(0)
        expected, _ = lstm(torch.from_numpy(np.array(probe_feeds()["x"])))
    np.testing.assert_allclose(probe_answer()[:, 0], expected.numpy(), atol=1e-7)
