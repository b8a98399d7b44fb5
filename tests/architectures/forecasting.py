"""A probabilistic forecaster after DeepAR: covariates, an item's embedding, mu and sigma."""

import torch
import torch.nn.functional as F
from torch import nn

import rnnport


class DeepAR(nn.Module):
    """Salinas et al. 2017 on a known series: target and covariates to mu and sigma of each step."""

    def __init__(self, covariates=3, items=5, hidden=16):
        super().__init__()
        self.embedding = nn.Embedding(items, 4)
        self.lstm = nn.LSTM(1 + covariates + 4, hidden, num_layers=2, dropout=0.1, batch_first=True)
        self.relu = nn.ReLU()
        self.mu = nn.Linear(2 * hidden, 1)
        self.presigma = nn.Linear(2 * hidden, 1)
        self.softplus = nn.Softplus()
        for names in self.lstm._all_weights:
            for name in filter(lambda n: "bias" in n, names):
                bias = getattr(self.lstm, name)
                n = bias.size(0)
                bias.data[n // 4 : n // 2].fill_(1.0)

    def forward(self, target, covariates, item):
        scale = 1 + target.abs().mean(dim=1, keepdim=True)
        embedded = self.embedding(item)  # [batch, 4]
        embedded = embedded.unsqueeze(1).repeat(1, target.size(1), 1)
        x = torch.cat([(target / scale).unsqueeze(-1), covariates, embedded], dim=-1)
        y, _ = self.lstm(x)
        both = torch.cat([y, torch.log(scale).unsqueeze(1).expand(-1, y.size(1), y.size(2))], -1)
        mu = self.mu(self.relu(both)).squeeze(-1) * scale
        sigma = self.softplus(self.presigma(both)).squeeze(-1) * scale
        return mu, sigma


class StreamedDeepAR(nn.Module):
    """One step of the decoding: (x, hidden, cell) as the reference repositories write it."""

    def __init__(self, features=4, hidden=16, layers=3):
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, layers)
        self.distribution_mu = nn.Linear(hidden * layers, 1)
        self.distribution_presigma = nn.Linear(hidden * layers, 1)
        self.distribution_sigma = nn.Softplus()

    def forward(self, x, hidden, cell):
        output, (hidden, cell) = self.lstm(x, (hidden, cell))
        permuted = hidden.permute(1, 2, 0).contiguous().view(hidden.shape[1], -1)
        presigma = self.distribution_presigma(permuted)
        mu = self.distribution_mu(permuted)
        sigma = self.distribution_sigma(presigma)
        return torch.squeeze(mu), torch.squeeze(sigma), hidden, cell


class ForecastStep(nn.Module):
    """Feeds the mean back as the next target."""

    def __init__(self, hidden):
        super().__init__()
        self.cell = nn.GRUCell(1, hidden)
        self.head = nn.Linear(hidden, 2)

    def forward(self, value, state):
        state = self.cell(value, state)
        mu, sigma = self.head(state).chunk(2, dim=-1)
        return (mu, F.softplus(sigma) + 1e-6), state


class HorizonForecaster(nn.Module):
    """Encodes the past, then forecasts a number of steps that is chosen at run time."""

    def __init__(self, hidden=16):
        super().__init__()
        self.encoder = nn.GRU(1, hidden, batch_first=True)
        self.decoder = rnnport.Recurrent(ForecastStep(hidden))

    def forward(self, past, steps):
        mean = past.mean(1, keepdim=True)
        std = past.std(1, keepdim=True, unbiased=False) + 1e-3
        x = (past - mean) / std
        _, h = self.encoder(x)
        (mu, sigma), _ = self.decoder(None, h[-1], steps=steps, start=x[:, -1])
        return mu * std + mean, sigma * std
