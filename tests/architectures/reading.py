"""Readers of images and of sound: a CRNN for text lines, and a DeepSpeech 2 with its lengths."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class CRNN(nn.Module):
    """Shi et al. 2015: convolutions squeeze the height away, the width becomes the time of CTC."""

    def __init__(self, height=16, classes=11, hidden=24):
        super().__init__()
        assert height % 16 == 0, "the height must be a multiple of 16"
        self.cnn = nn.Sequential(
            self._block(1, 8),
            nn.MaxPool2d(2, 2),
            self._block(8, 16),
            nn.MaxPool2d(2, 2),
            self._block(16, 16, norm=True),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)),
            self._block(16, 16, norm=True),
            nn.Conv2d(16, 16, (height // 8, 2)),
            nn.ReLU(True),
        )
        self.rnn = nn.LSTM(16, hidden, num_layers=2, bidirectional=True)
        self.embedding = nn.Linear(2 * hidden, classes)

    @staticmethod
    def _block(inputs, outputs, norm=False):
        layers = [nn.Conv2d(inputs, outputs, 3, 1, 1)]
        if norm:
            layers.append(nn.BatchNorm2d(outputs))
        return nn.Sequential(*layers, nn.ReLU(True))

    def forward(self, images):
        features = self.cnn(images)
        b, c, h, w = features.size()
        assert h == 1, "the height of conv must be 1"
        features = features.squeeze(2).permute(2, 0, 1)  # [w, b, c]
        self.rnn.flatten_parameters()
        recurrent, _ = self.rnn(features)
        t, b, h = recurrent.size()
        output = self.embedding(recurrent.view(t * b, h)).view(t, b, -1)
        return F.log_softmax(output, dim=2)


class MaskedConvolutions(nn.Module):
    """Convolutions that blank what lies behind each row's length, and count the length through."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x, lengths):
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                lengths = self.lengths_after(layer, lengths)
            mask = torch.arange(x.size(3), device=x.device)[None, :] >= lengths[:, None]
            x = x.masked_fill(mask[:, None, None, :], 0)
        return x, lengths

    @staticmethod
    def lengths_after(layer, lengths):
        kernel, stride, padding = layer.kernel_size[1], layer.stride[1], layer.padding[1]
        dilation = layer.dilation[1]
        span = lengths + 2 * padding - dilation * (kernel - 1) - 1
        return torch.div(span, stride, rounding_mode="floor") + 1


class BatchRNN(nn.Module):
    """Sequence-wise batch normalisation, then a recurrent layer whose directions are summed."""

    def __init__(self, inputs, hidden, kind=nn.GRU, batch_norm=True):
        super().__init__()
        self.hidden = hidden
        self.norm = nn.BatchNorm1d(inputs) if batch_norm else None
        self.rnn = kind(inputs, hidden, bidirectional=True, bias=True)

    def forward(self, x, lengths):
        if self.norm is not None:
            t, n = x.size(0), x.size(1)
            x = self.norm(x.view(t * n, -1)).view(t, n, -1)
        x = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        x, _ = self.rnn(x)
        x, _ = pad_packed_sequence(x)
        return x.view(x.size(0), x.size(1), 2, -1).sum(2).view(x.size(0), x.size(1), -1)


class DeepSpeech2(nn.Module):
    """Amodei et al. 2015: [batch, 1, frequency, time] to label probabilities and their lengths."""

    def __init__(self, bins=21, hidden=16, layers=3, labels=9, kind=nn.GRU):
        super().__init__()
        self.conv = MaskedConvolutions(
            nn.Conv2d(1, 4, (11, 5), stride=(2, 2), padding=(5, 2)),
            nn.BatchNorm2d(4),
            nn.Hardtanh(0, 20, inplace=True),
            nn.Conv2d(4, 4, (7, 5), stride=(2, 1), padding=(3, 2)),
            nn.BatchNorm2d(4),
            nn.Hardtanh(0, 20, inplace=True),
        )
        size = int(math.floor(bins + 2 * 5 - 11) / 2 + 1)
        size = int(math.floor(size + 2 * 3 - 7) / 2 + 1)
        self.rnns = nn.ModuleList(
            BatchRNN(size * 4 if i == 0 else hidden, hidden, kind, batch_norm=i > 0)
            for i in range(layers)
        )
        self.fc = nn.Sequential(nn.BatchNorm1d(hidden), nn.Linear(hidden, labels, bias=False))

    def forward(self, x, lengths):
        lengths = lengths.int()
        x, output_lengths = self.conv(x, lengths)
        sizes = x.size()
        x = x.view(sizes[0], sizes[1] * sizes[2], sizes[3])
        x = x.transpose(1, 2).transpose(0, 1).contiguous()  # [time, batch, features]
        for rnn in self.rnns:
            x = rnn(x, output_lengths)
        t, n = x.size(0), x.size(1)
        x = self.fc(x.view(t * n, -1)).view(t, n, -1).transpose(0, 1)
        return F.softmax(x, dim=-1), output_lengths
