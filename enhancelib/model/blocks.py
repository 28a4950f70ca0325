"""The layers that the network is built of; all of them look at the present and the past only."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def gate_of(logits: Tensor) -> Tensor:
    """From 0, shut, to 1, open.

    A little of the sigmoid's range is cut off at both ends: shut is zero, not nearly zero.
    """
    return (1.2 * logits.sigmoid() - 0.1).clamp(0, 1)


def bin_power(spectrum: Tensor) -> Tensor:
    """Power of complex numbers whose two parts lie along axis 1, which stays, of length 1.

    By a product, since a square is exported as a power, which runtimes take number by number.
    """
    return (spectrum * spectrum).sum(dim=1, keepdim=True)


class CausalBlock(nn.Module):
    """Residual block: depthwise 3 x 3 (bands x frames, causal), then pointwise.

    Its state is the input of the last ``2 * dilation`` frames.
    """

    def __init__(self, channels: int, dilation: int = 1):
        super().__init__()
        self.history = 2 * dilation
        self.depthwise = nn.Conv2d(
            channels,
            channels,
            (3, 3),
            padding=(1, 0),
            dilation=(1, dilation),
            groups=channels,
            bias=False,
        )
        self.depthwise_norm = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run ``x`` (batch, channels, bands, frames) after ``state`` (…, ``history``)."""
        window = torch.cat([state, x], dim=3)
        y = functional.relu(self.depthwise_norm(self.depthwise(window)))
        y = x + self.pointwise_norm(self.pointwise(y))
        return y, window[..., -self.history :]


class BandScale(nn.Module):
    """Change the number of channels and halve or double the number of bands."""

    def __init__(self, channels_in: int, channels_out: int, *, down: bool):
        super().__init__()
        self.down = down
        size = (2, 1) if down else (1, 1)
        self.convolution = nn.Conv2d(channels_in, channels_out, size, stride=size, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels_in, bands, frames) → (batch, channels_out, bands / 2 or * 2, frames)."""
        y = functional.relu(self.norm(self.convolution(x)))
        return y if self.down else y.repeat_interleave(2, dim=2)


class TemporalBlock(nn.Module):
    """Residual block over time alone: depthwise over 3 frames (causal), then pointwise.

    Its state is the input of the last ``2 * dilation`` frames.
    """

    def __init__(self, channels: int, dilation: int = 1):
        super().__init__()
        self.history = 2 * dilation
        self.depthwise = nn.Conv2d(
            channels, channels, (1, 3), dilation=(1, dilation), groups=channels, bias=False
        )
        self.depthwise_norm = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run ``x`` (batch, channels, 1, frames) after ``state`` (…, ``history``)."""
        window = torch.cat([state, x], dim=3)
        y = functional.relu(self.depthwise_norm(self.depthwise(window)))
        y = x + self.pointwise_norm(self.pointwise(y))
        return y, window[..., -self.history :]
