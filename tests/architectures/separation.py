"""A source separator on spectrograms, as Open-Unmix describes it, with one BiLSTM or one LSTM."""

import torch
import torch.nn.functional as F
from torch import nn


class OpenUnmix(nn.Module):
    """Stöter et al. 2019: magnitudes [batch, channels, bins, frames] to a source's magnitudes."""

    def __init__(self, bins=17, channels=2, hidden=16, layers=3, unidirectional=False, width=None):
        super().__init__()
        self.nb_output_bins, self.nb_channels, self.hidden_size = bins, channels, hidden
        self.nb_bins = width or bins
        self.fc1 = nn.Linear(self.nb_bins * channels, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        lstm_hidden = hidden if unidirectional else hidden // 2
        self.lstm = nn.LSTM(
            hidden,
            lstm_hidden,
            num_layers=layers,
            bidirectional=not unidirectional,
            batch_first=False,
            dropout=0.4 if layers > 1 else 0,
        )
        self.fc2 = nn.Linear(hidden * 2, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, bins * channels, bias=False)
        self.bn3 = nn.BatchNorm1d(bins * channels)
        self.input_mean = nn.Parameter(torch.linspace(-0.5, 0.1, self.nb_bins))
        self.input_scale = nn.Parameter(torch.linspace(0.7, 1.3, self.nb_bins))
        self.output_scale = nn.Parameter(torch.ones(bins))
        self.output_mean = nn.Parameter(torch.ones(bins))

    def forward(self, x):
        x = x.permute(3, 0, 1, 2)
        nb_frames, nb_samples, nb_channels, nb_bins = x.data.shape
        mix = x.detach().clone()
        x = x[..., : self.nb_bins]
        x = x + self.input_mean
        x = x * self.input_scale
        x = self.fc1(x.reshape(-1, nb_channels * self.nb_bins))
        x = self.bn1(x)
        x = x.reshape(nb_frames, nb_samples, self.hidden_size)
        x = torch.tanh(x)
        lstm_out = self.lstm(x)
        x = torch.cat([x, lstm_out[0]], -1)
        x = self.fc2(x.reshape(-1, x.shape[-1]))
        x = F.relu(self.bn2(x))
        x = self.bn3(self.fc3(x))
        x = x.reshape(nb_frames, nb_samples, nb_channels, self.nb_output_bins)
        x *= self.output_scale
        x += self.output_mean
        x = F.relu(x) * mix
        return x.permute(1, 2, 3, 0)
