"""Speech denoisers on spectra: grouped GRUs, dual paths, causal convolutions, masks."""

import torch
import torch.nn.functional as F
from torch import nn


class GroupedGRU(nn.Module):
    """Braun et al. 2020: the features in groups, each with its own GRU, shuffled between layers."""

    def __init__(self, size, groups=2, layers=2, shuffle=True):
        super().__init__()
        assert size % groups == 0
        self.groups, self.shuffle = groups, shuffle
        width = size // groups
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(groups))
            for _ in range(layers)
        )

    def forward(self, x, h0=None):
        b, t, f = x.shape
        states = []
        for number, layer in enumerate(self.layers):
            outputs = []
            for i, (gru, part) in enumerate(zip(layer, torch.chunk(x, self.groups, dim=-1))):
                h = None if h0 is None else h0[number * self.groups + i].unsqueeze(0)
                y, h = gru(part.contiguous(), h)
                outputs.append(y)
                states.append(h)
            x = torch.cat(outputs, dim=-1)
            if self.shuffle and number < len(self.layers) - 1:
                x = x.view(b, t, self.groups, -1).transpose(2, 3).flatten(2)
        return x, torch.cat(states, dim=0)


class CausalConv2d(nn.Module):
    """Convolution over [batch, channels, time, frequency] that looks back in time only."""

    def __init__(self, inputs, outputs, kernel=(2, 3), fstride=1):
        super().__init__()
        self.pad = nn.ConstantPad2d((kernel[1] // 2, kernel[1] // 2, kernel[0] - 1, 0), 0.0)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=(1, fstride), bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.PReLU(outputs)

    def forward(self, x):
        return self.act(self.norm(self.conv(self.pad(x))))


class UpConv2d(nn.Module):
    """A transposed convolution over frequency alone."""

    def __init__(self, inputs, outputs, last=False):
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            inputs, outputs, (1, 3), stride=(1, 2), padding=(0, 1), output_padding=(0, 0)
        )
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.Tanh() if last else nn.PReLU(outputs)

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class GroupedDenoiser(nn.Module):
    """CRUSE-like: real and imaginary parts [B, 2, T, F], U-net with skips, a complex mask."""

    def __init__(self, bins=17, channels=(4, 8)):
        super().__init__()
        c1, c2 = channels
        self.enc1 = CausalConv2d(2, c1, fstride=2)
        self.enc2 = CausalConv2d(c1, c2, fstride=2)
        width = c2 * ((bins + 3) // 4)
        self.rnn = GroupedGRU(width, groups=2)
        self.fc = nn.Linear(width, width)
        self.skip = nn.Conv2d(c1, c1, 1, groups=c1)
        self.dec2 = UpConv2d(c2, c1)
        self.dec1 = UpConv2d(c1, 2, last=True)

    def forward(self, spec):
        e1 = self.enc1(spec)
        e2 = self.enc2(e1)
        B, C, T, W = e2.shape
        x = e2.permute(0, 2, 1, 3).reshape(B, T, C * W)
        x, _ = self.rnn(x)
        x = self.fc(x).reshape(B, T, C, W).permute(0, 2, 1, 3)
        x = self.dec2(x + e2)
        mask = self.dec1(x + self.skip(e1))
        real = spec[:, 0] * mask[:, 0] - spec[:, 1] * mask[:, 1]
        imag = spec[:, 0] * mask[:, 1] + spec[:, 1] * mask[:, 0]
        return torch.stack([real, imag], dim=1)


class DualPath(nn.Module):
    """Le et al. 2021: a BiGRU along frequency within a frame, a GRU along time in each band."""

    def __init__(self, channels, bands, groups=1):
        super().__init__()
        self.intra = nn.GRU(channels, channels // 2, batch_first=True, bidirectional=True)
        self.intra_fc = nn.Linear(channels, channels)
        self.intra_norm = nn.LayerNorm((bands, channels), eps=1e-8)
        self.inter = nn.GRU(channels, channels, batch_first=True)
        self.inter_fc = nn.Linear(channels, channels)
        self.inter_norm = nn.LayerNorm((bands, channels), eps=1e-8)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)  # [B, T, F, C]
        B, T, W, C = x.shape
        y = x.reshape(B * T, W, C)
        y = self.intra_fc(self.intra(y)[0]).view(B, T, W, C)
        x = x + self.intra_norm(y)
        y = x.permute(0, 2, 1, 3).reshape(B * W, T, C)
        y = self.inter_fc(self.inter(y)[0]).view(B, W, T, C).permute(0, 2, 1, 3)
        x = x + self.inter_norm(y)
        return x.permute(0, 3, 1, 2)


class DualPathDenoiser(nn.Module):
    """DPCRN- or GTCRN-like: magnitude features, dual paths, a mask on both parts."""

    def __init__(self, bins=17, channels=8, intra_only=False):
        super().__init__()
        self.enc1 = CausalConv2d(3, channels, fstride=2)
        self.enc2 = CausalConv2d(channels, channels, fstride=2)
        bands = (bins + 3) // 4
        self.paths = nn.Sequential(DualPath(channels, bands), DualPath(channels, bands))
        self.dec2 = UpConv2d(channels * 2, channels)
        self.dec1 = UpConv2d(channels * 2, 2, last=True)

    def forward(self, spec):
        """Spectrum [B, F, T, 2] to the same."""
        x = spec.permute(0, 3, 2, 1)
        magnitude = torch.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2 + 1e-12)
        e1 = self.enc1(torch.stack([magnitude, x[:, 0], x[:, 1]], dim=1))
        e2 = self.enc2(e1)
        y = self.paths(e2)
        y = self.dec2(torch.cat([y, e2], dim=1))
        mask = self.dec1(torch.cat([y, e1], dim=1))
        out = torch.stack(
            [
                x[:, 0] * mask[:, 0] - x[:, 1] * mask[:, 1],
                x[:, 1] * mask[:, 0] + x[:, 0] * mask[:, 1],
            ],
            dim=1,
        )
        return out.permute(0, 3, 2, 1)


class SqueezedGRU(nn.Module):
    """DeepFilterNet's: grouped linear layers around a GRU, with a skip."""

    def __init__(self, inputs, hidden, outputs, groups=4):
        super().__init__()
        self.groups = groups
        self.weight_in = nn.Parameter(torch.randn(groups, inputs // groups, hidden // groups) * 0.3)
        self.gru = nn.GRU(hidden, hidden, num_layers=2, batch_first=True)
        self.weight_out = nn.Parameter(
            torch.randn(groups, hidden // groups, outputs // groups) * 0.3
        )
        self.skip = nn.Identity()

    def grouped(self, x, weight):
        b, t, _ = x.shape
        x = x.view(b, t, self.groups, -1)
        return torch.einsum("btgi,gih->btgh", x, weight).flatten(2, 3)

    def forward(self, x, h=None):
        y = F.relu(self.grouped(x, self.weight_in))
        y, h = self.gru(y, h)
        y = F.relu(self.grouped(y, self.weight_out))
        return y + self.skip(x), h


class DeepFilter(nn.Module):
    """DeepFilterNet-like: ERB gains for all bins, a filter over past frames for the low ones."""

    def __init__(self, bins=24, bands=8, low=8, order=3, channels=4):
        super().__init__()
        self.low, self.order = low, order
        fb = torch.zeros(bins, bands)
        for band in range(bands):
            fb[band * 3 : band * 3 + 3, band] = 1 / 3
        self.register_buffer("erb_fb", fb, persistent=False)
        self.register_buffer("erb_inv", (fb.t() > 0).float())
        self.conv0 = nn.Sequential(
            nn.ConstantPad2d((1, 1, 2, 0), 0.0),
            nn.Conv2d(1, channels, (3, 3), bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.gru = SqueezedGRU(channels * bands, 16, channels * bands)
        self.erb_out = nn.Linear(channels * bands, bands)
        self.df_gru = nn.GRU(channels * bands, 16, batch_first=True)
        self.df_out = nn.Linear(16, low * order * 2)
        self.df_alpha = nn.Sequential(nn.Linear(16, 1), nn.Sigmoid())

    def forward(self, spec):
        """Spectrum [B, 1, T, F, 2] to the same."""
        power = (spec**2).sum(-1)
        erb = 10 * torch.log10(torch.matmul(power, self.erb_fb) + 1e-6) / 40
        e = self.conv0(erb)
        b, c, t, f = e.shape
        e = e.permute(0, 2, 3, 1).flatten(2)
        y, _ = self.gru(e)
        gains = torch.sigmoid(self.erb_out(y)).unsqueeze(1) @ self.erb_inv  # [B, 1, T, F]
        masked = spec * gains.unsqueeze(-1)
        d, _ = self.df_gru(y)
        coefs = torch.tanh(self.df_out(d)).view(b, t, self.order, self.low, 2)
        alpha = self.df_alpha(d)
        return self.filter(spec, masked, coefs, alpha)

    def filter(self, spec, masked, coefs, alpha):
        low = spec[:, 0, :, : self.low]  # [B, T, low, 2]
        padded = F.pad(low, (0, 0, 0, 0, self.order - 1, 0))
        frames = padded.unfold(1, self.order, 1)  # [B, T, low, 2, order]
        frames = frames.permute(0, 1, 4, 2, 3)
        re = frames[..., 0] * coefs[..., 0] - frames[..., 1] * coefs[..., 1]
        im = frames[..., 1] * coefs[..., 0] + frames[..., 0] * coefs[..., 1]
        filtered = torch.stack([re, im], -1).sum(2)
        a = alpha.view(alpha.size(0), alpha.size(1), 1, 1)
        out = masked.clone()
        out[:, 0, :, : self.low] = filtered * a + masked[:, 0, :, : self.low] * (1 - a)
        return out
