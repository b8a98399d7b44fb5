"""Voice activity detectors that hear a chunk at a time and carry a state, as silero's does."""

import torch
import torch.nn.functional as F
from torch import nn


class ChunkDetector(nn.Module):
    """A chunk of samples [batch, samples] and a state [2, batch, hidden] to one probability."""

    def __init__(self, window=32, hop=8, hidden=16):
        super().__init__()
        self.hop = hop
        self.register_buffer("basis", torch.randn(2 * (window // 2 + 1), 1, window) * 0.2)
        bins = window // 2 + 1
        self.bins = bins
        self.encoder = nn.Sequential(
            nn.Conv1d(bins, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(16, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(16, hidden, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.rnn = nn.LSTMCell(hidden, hidden)
        self.decoder = nn.Sequential(
            nn.Dropout(0.1), nn.ReLU(), nn.Conv1d(hidden, 1, 1), nn.Sigmoid()
        )

    def features(self, x):
        x = F.pad(x.unsqueeze(1), (0, 16), mode="reflect")
        y = F.conv1d(x, self.basis, stride=self.hop)
        return torch.sqrt(y[:, : self.bins] ** 2 + y[:, self.bins :] ** 2)

    def forward(self, x, state):
        y = self.encoder(self.features(x))[:, :, -1]
        h, c = self.rnn(y, (state[0], state[1]))
        out = self.decoder(h.unsqueeze(-1)).squeeze(2)
        return out, torch.stack([h, c])


class LayeredDetector(ChunkDetector):
    """The same with nn.LSTM over the chunk's frames and its state in one tensor."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.rnn = nn.LSTM(16, 16, batch_first=True)

    def forward(self, x, state):
        y = self.encoder(self.features(x)).permute(0, 2, 1)
        y, (h, c) = self.rnn(y, (state[0:1], state[1:2]))
        out = self.decoder(y.permute(0, 2, 1)).squeeze(1).mean(1, keepdim=True)
        return out, torch.cat([h, c])


class FrameDetector(nn.Module):
    """Spectral frames [batch, time, bins], one probability for each, hangover by a kept state."""

    def __init__(self, bins=17, hidden=16):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(i, 16, 3, padding=2) for i in (bins, 16))
        self.lstm = nn.LSTM(16, hidden, 2, batch_first=True)
        self.out = nn.Linear(hidden, 1)
        self.state = None

    def reset_states(self):
        self.state = None

    def forward(self, x):
        x = torch.log1p(x.abs()).transpose(1, 2)
        for conv in self.convs:
            x = F.relu(conv(x)[:, :, :-2])
        y, self.state = self.lstm(x.transpose(1, 2), self.state)
        return torch.sigmoid(self.out(y)).squeeze(-1)
