"""Exporting an architecture at one shape, and comparing its file with it at others."""

import copy

import numpy as np
import onnxruntime
import torch
from torch.utils import _pytree as pytree

import rnnport


def drawn(*shape, seed=0):
    """Normal numbers."""
    numbers = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return torch.from_numpy(numbers.astype(np.float32))


def ids(*shape, high, low=0, seed=0):
    """Whole numbers from ``low`` up to, and without, ``high``."""
    return torch.from_numpy(np.random.default_rng([seed, *shape]).integers(low, high, shape))


def ragged(batch, longest, seed=0):
    """Lengths in no order, none of them 0; the longest row may be padded too."""
    return ids(batch, low=1, high=longest + 1, seed=seed)


def shaken(module, seed=11):
    """The module, built and with batch norms as after training, in training mode as it comes."""
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module.train()


class File:
    """A model file in ONNX Runtime, without rnnport."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [each.name for each in self.session.get_inputs()]
        self.outputs = [each.name for each in self.session.get_outputs()]

    def __call__(self, *leaves, **named):
        given = dict(zip(self.inputs, leaves, strict=False)) | named
        feeds = {name: np.asarray(value) for name, value in given.items()}
        return dict(zip(self.outputs, self.session.run(self.outputs, feeds), strict=True))


def answer_of(module, arguments):
    """The leaves of a fresh copy's answer in evaluation."""
    with torch.no_grad():
        answer = copy.deepcopy(module).eval()(**arguments)
    return [leaf.detach() for leaf in pytree.tree_leaves(answer) if leaf is not None]


def assert_close(actual, expected, bound=1e-5):
    expected = expected.numpy()
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound)


def carried(path, module, arguments, example, others, bound=1e-5, **settings):
    """Export at the ``example``'s shape; the file answers as the module at every other one.

    ``arguments(*shape)`` gives forward's arguments by name and in its order.
    """
    report = rnnport.export(shaken(module), arguments(*example), path, **settings)
    assert report.parity.ok
    assert module.training
    file = File(path)
    for shape in (example, *others):
        given = arguments(*shape)
        expected = answer_of(module, given)
        found = file(*pytree.tree_leaves(given))
        assert len(found) == len(expected)
        for actual, wanted in zip(found.values(), expected, strict=True):
            assert_close(actual, wanted, bound)
    return report


def streamed(path, module, arguments, example, pieces, time_axis, bound=1e-5, **settings):
    """Export with ``stream=True``; the pieces' answers, joined, are those to the whole.

    ``time_axis`` is the one of every leaf of the arguments and of the answer, or one for each,
    ``(of arguments, of answers)``; None: that leaf has no time.
    """
    report = rnnport.export(shaken(module), arguments(*example), path, stream=True, **settings)
    assert report.parity.ok
    file = File(path)
    for batch in (1, example[0] + 2):
        _in_pieces(
            file, report.spec, module, arguments(batch, sum(pieces)), pieces, time_axis, bound
        )
    return report


def _in_pieces(file, spec, module, given, pieces, time_axis, bound):
    leaves = pytree.tree_leaves(given)
    expected = answer_of(module, given)
    ins, outs = time_axis if isinstance(time_axis, tuple) else (time_axis, time_axis)
    ins = ins if isinstance(ins, list) else [ins] * len(leaves)
    outs = outs if isinstance(outs, list) else [outs] * len(expected)
    batch = next(t.shape[s.batch_axis] for t, s in zip(leaves, spec.data_inputs(), strict=False))
    states = {
        state.input: np.broadcast_to(
            np.asarray(state.initial, state.dtype), (batch, *state.shape[1:])
        )
        for state in spec.states
    }
    rows = []
    for piece, start in zip(pieces, np.cumsum([0, *pieces[:-1]]), strict=True):
        cut = [
            leaf if axis is None else leaf.narrow(axis, int(start), piece)
            for leaf, axis in zip(leaves, ins, strict=True)
        ]
        found = file(*cut, **states)
        states = {state.input: found[state.output] for state in spec.states}
        rows.append(list(found.values())[: len(expected)])
    for answers, wanted, axis in zip(zip(*rows, strict=True), expected, outs, strict=True):
        joined = answers[-1] if axis is None else np.concatenate(answers, axis)
        assert_close(joined, wanted, bound)
