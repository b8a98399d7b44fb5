"""Modules that users write, for the exporter's tests, and running their files without rnnport."""

import collections
import itertools

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

FEATURES, HIDDEN = 8, 16


def tensors(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def open_file(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_file(session, *inputs, **named):
    """The outputs by name; inputs in the file's order, or by name."""
    names = [each.name for each in session.get_inputs()]
    given = dict(zip(names, inputs, strict=False)) | named
    feeds = {name: np.asarray(value) for name, value in given.items()}
    outputs = [each.name for each in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, feeds), strict=True))


def assert_close(actual, expected, bound=1e-5):
    expected = np.asarray(expected.detach() if isinstance(expected, torch.Tensor) else expected)
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound)


def first_states(spec, batch):
    return {
        state.input: np.broadcast_to(np.float32(state.initial), (batch, *state.shape[1:])).copy()
        for state in spec.states
    }


def in_pieces(session, spec, x, pieces, **further):
    """The answers to consecutive pieces of x, joined along time, and the last states."""
    states = first_states(spec, len(x))
    starts = list(itertools.accumulate(pieces, initial=0))
    answers = []
    for start, stop in itertools.pairwise(starts):
        more = {name: value(start, stop) for name, value in further.items()}
        found = run_file(session, x[:, start:stop], **more, **states)
        states = {state.input: found[state.output] for state in spec.states}
        answers.append(next(iter(found.values())))
    return np.concatenate(answers, 1), states


class Layers(nn.Module):
    """One recurrent module with a head."""

    def __init__(self, kind, **settings):
        super().__init__()
        self.rnn = kind(FEATURES, HIDDEN, **settings)
        self.head = nn.Linear(HIDDEN * (2 if settings.get("bidirectional") else 1), 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


class Stateful(nn.Module):
    """Takes initial states, gives a dictionary with the final ones."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN, 2, batch_first=True)

    def forward(self, x, state=None):
        y, state = self.rnn(x, state)
        return {"y": y, "state": state, "nothing": None}


Scores = collections.namedtuple("Scores", "logits hidden")


class Named(nn.Module):
    """Keyword and optional inputs, a named tuple out."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(
            FEATURES,
            HIDDEN,
            3,
            nonlinearity="relu",
            bidirectional=True,
            bias=False,
            dropout=0.3,
            batch_first=True,
        )

    def forward(self, x, *, scale=2.0, shift=None):
        y, hidden = self.rnn(x)
        return Scores(y * scale if shift is None else y * scale + shift, hidden)


class Packed(nn.Module):
    """Packs, runs, pads."""

    def __init__(self, kind=nn.LSTM, time_first=False, ordered=False, **padding):
        super().__init__()
        self.time_first, self.ordered, self.padding = time_first, ordered, padding
        self.rnn = kind(FEATURES, HIDDEN, 2, bidirectional=True, batch_first=not time_first)

    def forward(self, x, lengths):
        if self.time_first:
            x = x.transpose(0, 1)
        packed = pack_padded_sequence(x, lengths, not self.time_first, self.ordered)
        y, state = self.rnn(packed)
        padding = dict(self.padding)
        if padding.get("total_length") == "input":
            padding["total_length"] = x.size(0 if self.time_first else 1)
        y, counted = pad_packed_sequence(y, not self.time_first, **padding)
        return {"y": y, "counted": counted, "state": state}


class PackedData(nn.Module):
    """Works on packed.data between two recurrent layers."""

    def __init__(self, padding_value=-1.5, in_place=False):
        super().__init__()
        self.padding_value, self.in_place = padding_value, in_place
        self.embed = nn.Linear(FEATURES, FEATURES)
        self.one = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.two = nn.GRU(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        data = torch.tanh(self.embed(packed.data)) + 1
        packed = PackedSequence(
            data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )
        y, _ = self.one(packed)
        y, last = self.two(y._replace(data=torch.relu(y.data) + 1))
        if self.in_place:
            y.data.add_(1)
        else:
            y = y._replace(data=y.data + 1)
        padded, _ = pad_packed_sequence(y, batch_first=True, padding_value=self.padding_value)
        return padded, last


class LastStep(nn.Module):
    """A classifier of padded sequences, as the recipes build them."""

    def __init__(self, kind=nn.LSTM, bidirectional=False):
        super().__init__()
        self.rnn = kind(FEATURES, HIDDEN, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(HIDDEN, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, state = self.rnn(packed)
        last = state[0] if isinstance(state, tuple) else state
        return self.head(last[-1]).softmax(-1)


class Tags(nn.Module):
    """Scores for every step of padded sequences: what streams with lengths."""

    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.rnn = kind(FEATURES, HIDDEN, 2, batch_first=True)
        self.head = nn.Linear(HIDDEN, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = self.rnn(packed)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.size(1))
        return self.head(y)


class Twice(nn.Module):
    """A GRU, and an LSTM that is called twice."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.gru = nn.GRU(FEATURES, 12)
        self.lstm = nn.LSTM(12, HIDDEN, 2)

    def forward(self, x):
        z, _ = self.encoder.gru(x.transpose(0, 1))
        return (self.lstm(z)[0] + self.lstm(z * 2)[0]).transpose(0, 1)


class Learned(nn.Module):
    """Begins from a state that was learned."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, 2, batch_first=True)
        self.first = nn.Parameter(tensors(2, 1, HIDDEN, seed=5))

    def forward(self, x):
        return self.rnn(x, self.first.expand(-1, x.size(0), -1).contiguous())[0]


class Keeping(nn.Module):
    """Keeps its state in an attribute from call to call."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.hidden = None

    def forward(self, x):
        y, hidden = self.rnn(x, self.hidden)
        self.hidden = tuple(state.detach() for state in hidden)
        return y


class Functional(nn.LSTM):
    """A subclass that calls torch's function itself."""

    def forward(self, x):
        zero = torch.zeros(self.num_layers, x.size(0), self.hidden_size)
        settings = (True, self.num_layers, 0.0, self.training, False, True)
        return torch._VF.lstm(x, (zero, zero.clone()), self._flat_weights, *settings)[0]


class Fixed(nn.Module):
    """Fixes time by a weight of the example's length."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.weight = nn.Parameter(tensors(6, 1))

    def forward(self, x):
        return self.rnn(x)[0] * self.weight


class Stepping(nn.Module):
    """A Python loop over time, which would be unrolled."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.cell = nn.GRUCell(HIDDEN, FEATURES)

    def forward(self, x):
        y, h = self.rnn(x)[0], torch.zeros(x.size(0), FEATURES)
        steps = []
        for t in range(x.size(1)):
            h = self.cell(y[:, t], h)
            steps.append(h)
        return torch.stack(steps, 1)


class Deciding(nn.Module):
    """Decides by a value."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        y = self.rnn(x)[0]
        return y if y.sum() > 0 else -y


class LookingAhead(nn.Module):
    """Two directions made by hand: nothing says that it cannot stream, but it cannot."""

    def __init__(self):
        super().__init__()
        self.ahead = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.back = nn.LSTM(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        return torch.cat([self.ahead(x)[0], self.back(x.flip(1))[0].flip(1)], -1)
