"""Keyword spotters: convolution and GRU with a last step or attention, and one that listens on."""

import torch
import torch.nn.functional as F
from torch import nn


class CRNNKeywords(nn.Module):
    """Arik et al. 2017: a strided convolution over time and frequency, BiGRUs, the last step."""

    def __init__(self, mels=20, channels=8, hidden=12, classes=4, bidirectional=True):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, (20, 5), stride=(8, 2), padding=(10, 2))
        self.gru = nn.GRU(
            channels * 3, hidden, num_layers=2, bidirectional=bidirectional, batch_first=True
        )
        width = hidden * (2 if bidirectional else 1)
        self.fc = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Dropout(0.3))
        self.out = nn.Linear(16, classes)

    def forward(self, mel):
        x = mel.transpose(1, 2).unsqueeze(1)  # [B, 1, mels, T]
        x = F.relu(self.conv(x))
        b, c, f, t = x.shape
        x = x.permute(0, 3, 1, 2).contiguous().view(b, t, c * f)
        _, h = self.gru(x)
        last = torch.cat([h[-2], h[-1]], dim=1) if self.gru.bidirectional else h[-1]
        return F.softmax(self.out(self.fc(last)), dim=-1)


class AttentionKeywords(nn.Module):
    """Shan et al. 2018: GRU and soft attention pooling over time, lengths optional."""

    def __init__(self, mels=20, hidden=12, classes=4):
        super().__init__()
        self.norm = nn.LayerNorm(mels)
        self.gru = nn.GRU(mels, hidden, batch_first=True, num_layers=2, dropout=0.1)
        self.w = nn.Linear(hidden, 8)
        self.v = nn.Linear(8, 1, bias=False)
        self.out = nn.Linear(hidden, classes)

    def forward(self, mel, lengths=None):
        y, _ = self.gru(self.norm(mel))
        e = self.v(torch.tanh(self.w(y))).squeeze(-1)
        if lengths is not None:
            keep = torch.arange(mel.shape[1], device=mel.device).expand(
                mel.shape[0], mel.shape[1]
            ) < lengths.unsqueeze(1)
            e = e.masked_fill(~keep, float("-inf"))
        alpha = torch.softmax(e, dim=-1)
        context = torch.bmm(alpha.unsqueeze(1), y).squeeze(1)
        return F.log_softmax(self.out(context), dim=-1), alpha


class SqueezeExcite(nn.Module):
    """Channel attention from each frame alone."""

    def __init__(self, channels):
        super().__init__()
        self.down, self.up = nn.Linear(channels, 4), nn.Linear(4, channels)

    def forward(self, x):
        gate = torch.sigmoid(self.up(F.relu(self.down(x.transpose(1, 2)))))
        return x * gate.transpose(1, 2)


class CausalKeywords(nn.Module):
    """Causal depthwise separable convolutions with residuals, a GRU, a score for every frame."""

    def __init__(self, mels=20, channels=16, hidden=12, classes=4):
        super().__init__()
        self.front = nn.Conv1d(mels, channels, 1)
        self.depthwise = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, dilation=2**i, groups=channels, bias=False)
            for i in range(3)
        )
        self.pointwise = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(3))
        self.excite = SqueezeExcite(channels)
        self.gru = nn.GRU(channels, hidden, batch_first=True)
        self.out = nn.Linear(hidden, classes)

    def forward(self, mel):
        x = self.front(mel.transpose(1, 2))
        for i, (depthwise, pointwise, norm) in enumerate(
            zip(self.depthwise, self.pointwise, self.norms)
        ):
            y = F.pad(x, (2 * 2**i, 0))
            x = x + F.relu6(norm(pointwise(depthwise(y))))
        y, _ = self.gru(self.excite(x).transpose(1, 2))
        return torch.sigmoid(self.out(y))
