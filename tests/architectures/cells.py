"""Cells of one's own in ``Recurrent``: ConvLSTM, QRNN, SRU, minGRU, a WaveRNN and zoneout."""

import torch
import torch.nn.functional as F
from torch import nn

import rnnport


class ConvLSTMCell(nn.Module):
    """Shi et al. 2015: gates by convolution over [batch, channels, height, width]."""

    def __init__(self, inputs, hidden, kernel=3):
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def initial_state(self, x):
        b, _, h, w = x.shape
        zeros = torch.zeros(b, self.hidden, h, w, device=x.device)
        return zeros, zeros.clone()

    def forward(self, x, state):
        h, c = state
        gates = self.conv(torch.cat([x, h], dim=1))
        i, f, o, g = torch.split(gates, self.hidden, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


class ConvLSTM(nn.Module):
    """Two layers over frames [batch, time, channels, height, width], and a frame for each step."""

    def __init__(self, channels=1, hidden=4):
        super().__init__()
        self.one = rnnport.Recurrent(ConvLSTMCell(channels, hidden))
        self.two = rnnport.Recurrent(ConvLSTMCell(hidden, hidden))
        self.out = nn.Conv2d(hidden, channels, 1)

    def forward(self, frames):
        y, _ = self.one(frames)
        y, _ = self.two(y)
        b, t, c, h, w = y.shape
        return torch.sigmoid(self.out(y.reshape(b * t, c, h, w))).view(b, t, -1, h, w)


class ForgetMult(nn.Module):
    """Bradbury et al. 2016's pooling: c = f·c + (1 − f)·z."""

    def forward(self, x, c):
        z, f = x
        return f * c + (1 - f) * z


class QRNN(nn.Module):
    """Quasi-recurrent layers: gates by a window of two steps, f o pooling."""

    def __init__(self, inputs=6, hidden=12):
        super().__init__()
        self.linear = nn.Linear(2 * inputs, 3 * hidden)
        self.pool = rnnport.Recurrent(ForgetMult())

    def forward(self, x):
        before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
        z, f, o = self.linear(torch.cat([before, x], dim=-1)).chunk(3, dim=-1)
        z, f, o = torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o)
        c, last = self.pool((z, f), torch.zeros(x.size(0), z.size(2)))
        return o * c, last


class SRUCell(nn.Module):
    """Lei et al. 2017: only element-wise work in the loop."""

    def __init__(self, size):
        super().__init__()
        self.vf = nn.Parameter(torch.linspace(-0.5, 0.5, size))
        self.vr = nn.Parameter(torch.linspace(0.4, -0.4, size))
        self.bf, self.br = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x, c):
        u, xf, xr, skip = x
        f = torch.sigmoid(xf + self.vf * c + self.bf)
        r = torch.sigmoid(xr + self.vr * c + self.br)
        c = f * c + (1 - f) * u
        return r * c + (1 - r) * skip, c


class SRU(nn.Module):
    """A stack of them, each with its matrix product outside of the loop."""

    def __init__(self, size=12, layers=3):
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(size, 3 * size, bias=False) for _ in range(layers))
        self.cells = nn.ModuleList(rnnport.Recurrent(SRUCell(size)) for _ in range(layers))

    def forward(self, x):
        states = []
        for linear, cell in zip(self.linears, self.cells):
            u, f, r = linear(x).chunk(3, -1)
            x, c = cell((u, f, r, x), x.new_zeros(x.size(0), x.size(2)))
            states.append(c)
        return x, torch.stack(states)


class MinGRUCell(nn.Module):
    """Feng et al. 2024."""

    def __init__(self, inputs=6, hidden=12):
        super().__init__()
        self.hidden = hidden
        self.z, self.h = nn.Linear(inputs, hidden), nn.Linear(inputs, hidden)

    def forward(self, x, state=None):
        if state is None:
            state = torch.zeros(x.size(0), self.hidden, device=x.device)
        z = torch.sigmoid(self.z(x))
        h = self.h(x)
        h = torch.where(h >= 0, h + 0.5, torch.sigmoid(h))
        return torch.lerp(state, h, z)


class MinGRU(nn.Module):
    """Residual minGRU blocks with normalisation."""

    def __init__(self, size=6):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.rnn = rnnport.Recurrent(MinGRUCell(size, 12))
        self.out = nn.Linear(12, size)

    def forward(self, x):
        y, _ = self.rnn(self.norm(x))
        return x + self.out(F.silu(y))


class WaveStep(nn.Module):
    """Kalchbrenner et al. 2018 in small: the last sample and a frame's features to the next."""

    def __init__(self, features=5, hidden=16, levels=32):
        super().__init__()
        self.levels = levels
        self.I = nn.Linear(1 + features, hidden)
        self.rnn1, self.rnn2 = nn.GRUCell(hidden, hidden), nn.GRUCell(hidden, hidden)
        self.fc = nn.Linear(hidden, levels)

    def forward(self, x, state, frames):
        h1, h2, position = state
        frame = frames.gather(1, position.view(-1, 1, 1).expand(-1, 1, frames.size(2))).squeeze(1)
        x = self.I(torch.cat([x, frame], dim=1))
        h1 = self.rnn1(x, h1)
        x = x + h1
        h2 = self.rnn2(x, h2)
        logits = self.fc(F.relu(x + h2))
        sample = logits.argmax(1, keepdim=True).float() * 2 / (self.levels - 1) - 1
        ended = (position + 1).clamp(max=frames.size(1) - 1)
        return (sample, logits), (h1, h2, ended)


class WaveRNN(nn.Module):
    """Frames are upsampled, and as many samples are drawn, the most likely each time."""

    def __init__(self, features=5, hop=4, hidden=16):
        super().__init__()
        self.hop, self.hidden = hop, hidden
        self.frames = nn.GRU(features, features, batch_first=True)
        self.decoder = rnnport.Recurrent(WaveStep(features, hidden))

    def forward(self, mels, steps):
        mels, _ = self.frames(mels)
        frames = mels.repeat_interleave(self.hop, dim=1)
        b = mels.size(0)
        h = mels.new_zeros(b, self.hidden)
        state = (h, h, torch.zeros(b, dtype=torch.long))
        (samples, logits), _ = self.decoder(
            None, state, steps=steps, start=mels.new_zeros(b, 1), frames=frames
        )
        return samples.squeeze(2), logits


class ZoneoutCell(nn.Module):
    """Krueger et al. 2016: in evaluation the expected state."""

    def __init__(self, inputs, hidden, zoneout=0.1):
        super().__init__()
        self.cell, self.zoneout = nn.LSTMCell(inputs, hidden), zoneout

    def forward(self, x, state):
        h, c = self.cell(x, state)
        if self.training:
            keep = torch.rand_like(h) < self.zoneout
            return torch.where(keep, state[0], h), torch.where(keep, state[1], c)
        p = self.zoneout
        return p * state[0] + (1 - p) * h, p * state[1] + (1 - p) * c


class Zoneout(nn.Module):
    """With states in and out."""

    def __init__(self, inputs=6, hidden=12):
        super().__init__()
        self.rnn = rnnport.Recurrent(ZoneoutCell(inputs, hidden))

    def forward(self, x, h, c):
        y, (h, c) = self.rnn(x, (h, c))
        return y, h, c
