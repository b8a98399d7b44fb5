"""Cells that users write, and models around ``rnnport.Recurrent``, for its tests."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnport

FEATURES, HIDDEN, MEMORY = 8, 16, 12


class Looped(nn.Module):
    """A cell run over time, with all that ``Recurrent`` gives."""

    def __init__(self, cell, **settings):
        super().__init__()
        self.loop = rnnport.Recurrent(cell)
        self.settings = settings

    def forward(self, x, lengths=None, state=None):
        return self.loop(x, state, lengths, **self.settings)


class LayerNormLSTMCell(nn.Module):
    """An LSTM cell that normalises its gates; it answers its state, (h, c)."""

    def __init__(self):
        super().__init__()
        self.gates = nn.Linear(FEATURES + HIDDEN, 4 * HIDDEN)
        self.norms = nn.ModuleList(nn.LayerNorm(HIDDEN) for _ in range(5))

    def initial_state(self, x):
        zeros = x.new_zeros(x.shape[0], HIDDEN)
        return zeros, zeros

    def forward(self, x, state):
        h, c = state
        parts = self.gates(torch.cat([x, h], 1)).split(HIDDEN, 1)
        i, f, g, o = (norm(part) for norm, part in zip(self.norms, parts, strict=False))
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(self.norms[4](c)), c


class AttentionStep(nn.Module):
    """A decoder's step over a memory [batch, positions, features]: three states, two answers."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(FEATURES + MEMORY, HIDDEN)
        self.query = nn.Linear(HIDDEN, MEMORY)

    def forward(self, x, state, memory):
        h, c, context = state
        h, c = self.cell(torch.cat([x, context], 1), (h, c))
        weights = (memory @ self.query(h).unsqueeze(2)).squeeze(2).softmax(1)
        context = (weights.unsqueeze(1) @ memory).squeeze(1)
        return (torch.cat([h, context], 1), weights), (h, c, context)


class Attending(nn.Module):
    """A recurrent encoder and an attention decoder over its answers."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.GRU(FEATURES, MEMORY, batch_first=True)
        self.decoder = rnnport.Recurrent(AttentionStep())

    def forward(self, x, target):
        memory, _ = self.encoder(x)
        batch = x.shape[0]
        state = tuple(x.new_zeros(batch, size) for size in (HIDDEN, HIDDEN, MEMORY))
        (y, weights), _ = self.decoder(target, state, memory=memory)
        return y, weights


class DecoderStep(nn.Module):
    """Two LSTM cells with attention over a memory that has padding; answers a frame first."""

    def __init__(self, memory, hidden, frame):
        super().__init__()
        self.one = nn.LSTMCell(frame + memory, hidden)
        self.two = nn.LSTMCell(hidden + memory, hidden)
        self.query = nn.Linear(hidden, memory)
        self.frame = nn.Linear(hidden + memory, frame)
        self.stop = nn.Linear(hidden + memory, 1)

    def forward(self, frame, state, memory, ended):
        (h1, c1), (h2, c2), context = state
        h1, c1 = self.one(torch.cat([frame, context], 1), (h1, c1))
        scores = (memory @ self.query(h1).unsqueeze(2)).squeeze(2)
        weights = scores.masked_fill(ended, -torch.inf).softmax(1)
        context = (weights.unsqueeze(1) @ memory).squeeze(1)
        h2, c2 = self.two(torch.cat([h1, context], 1), (h2, c2))
        both = torch.cat([h2, context], 1)
        answer = (self.frame(both), self.stop(both).sigmoid(), weights)
        return answer, ((h1, c1), (h2, c2), context)


class TextToFrames(nn.Module):
    """A packed BiLSTM over text, and a decoder that feeds its frames back for ``steps`` steps."""

    def __init__(self, text=32, encoder=16, hidden=24, frame=6):
        super().__init__()
        self.hidden, self.frame = hidden, frame
        self.embed = nn.Embedding(40, text)
        self.encoder = nn.LSTM(text, encoder, batch_first=True, bidirectional=True)
        self.decoder = rnnport.Recurrent(DecoderStep(2 * encoder, hidden, frame))

    def forward(self, text, lengths, steps):
        packed = pack_padded_sequence(
            self.embed(text), lengths, batch_first=True, enforce_sorted=False
        )
        memory, _ = pad_packed_sequence(
            self.encoder(packed)[0], batch_first=True, total_length=text.shape[1]
        )
        ended = torch.arange(text.shape[1]).unsqueeze(0) >= lengths.unsqueeze(1)
        batch = text.shape[0]
        pair = (memory.new_zeros(batch, self.hidden), memory.new_zeros(batch, self.hidden))
        state = (pair, pair, memory.new_zeros(batch, memory.shape[2]))
        (frames, stops, weights), _ = self.decoder(
            state=state,
            steps=steps,
            start=memory.new_zeros(batch, self.frame),
            memory=memory,
            ended=ended,
        )
        return {"frames": frames, "stops": stops, "weights": weights}
