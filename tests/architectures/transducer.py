"""An RNN transducer after Graves 2012 and He et al. 2018: encoder, predictor and joiner."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class TimeReduction(nn.Module):
    """Stacks every two frames; a frame that is left over is dropped, or padded, if there is one."""

    def __init__(self, factor=2, rest="pad"):
        super().__init__()
        self.factor, self.rest = factor, rest

    def forward(self, x):
        batch, steps, size = x.shape
        if self.rest == "drop":
            steps = steps - steps % self.factor
            x = x[:, :steps]
        elif self.rest == "pad":
            x = nn.functional.pad(x, (0, 0, 0, -x.size(1) % self.factor))
        elif steps % self.factor != 0:
            x = nn.functional.pad(x, (0, 0, 0, self.factor - steps % self.factor))
        return x.reshape(batch, -1, size * self.factor)


class Encoder(nn.Module):
    """LSTM layers with layer norm, projections and a time reduction after the second."""

    def __init__(self, features=10, hidden=24, projection=12, layers=4, rest="pad"):
        super().__init__()
        self.reduction = TimeReduction(rest=rest)
        self.lstms, self.norms = nn.ModuleList(), nn.ModuleList()
        for i in range(layers):
            inputs = features if i == 0 else projection * (2 if i == 2 else 1)
            self.lstms.append(nn.LSTM(inputs, hidden, batch_first=True, proj_size=projection))
            self.norms.append(nn.LayerNorm(projection))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        for i, (lstm, norm) in enumerate(zip(self.lstms, self.norms)):
            if i == 2:
                x = self.reduction(x)
            x, _ = lstm(x)
            x = self.dropout(norm(x))
        return x


class PackedEncoder(nn.Module):
    """The same with lengths, which the reduction halves."""

    def __init__(self, features=10, hidden=12):
        super().__init__()
        self.first = nn.LSTM(features, hidden, 2, batch_first=True)
        self.norm = nn.LayerNorm(2 * hidden)
        self.second = nn.LSTM(2 * hidden, hidden, 2, batch_first=True)
        self.project = nn.Linear(hidden, 8)

    def run(self, rnn, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=x.size(1))[0]

    def forward(self, x, lengths):
        x = self.run(self.first, x, lengths)
        x = nn.functional.pad(x, (0, 0, 0, x.size(1) % 2))
        x = self.norm(x.reshape(x.size(0), x.size(1) // 2, -1))
        lengths = (lengths + 1) // 2
        return self.project(self.run(self.second, x, lengths)), lengths


class Predictor(nn.Module):
    """Labels so far to a vector each, with the state that a search carries on."""

    def __init__(self, labels=20, hidden=16, projection=12):
        super().__init__()
        self.blank = 0
        self.embed = nn.Embedding(labels, 8, padding_idx=0)
        self.lstm = nn.LSTM(8, hidden, num_layers=2, batch_first=True)
        self.out = nn.Linear(hidden, projection)

    def forward(self, y, states=None):
        embedded = self.embed(y)
        out, (h, c) = self.lstm(embedded, states)
        return self.out(out), (h, c)


class Joiner(nn.Module):
    """Every frame with every label."""

    def __init__(self, size=12, labels=20):
        super().__init__()
        self.linear = nn.Linear(size, labels)

    def forward(self, f, g):
        return self.linear(torch.tanh(f.unsqueeze(2) + g.unsqueeze(1))).log_softmax(-1)


class Transducer(nn.Module):
    """All three, as in training: features and labels, both with time."""

    def __init__(self):
        super().__init__()
        self.encoder, self.predictor, self.joiner = Encoder(), Predictor(), Joiner()

    def forward(self, features, labels):
        start = labels.new_zeros(labels.size(0), 1)
        y, _ = self.predictor(torch.cat([start, labels], dim=1))
        return self.joiner(self.encoder(features), y)
