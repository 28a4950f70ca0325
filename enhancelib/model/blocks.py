"""The layers that the network is built of; all of them look at the present and the past only."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def gate_of(logits: Tensor) -> Tensor:
    """Map logits of any shape to how far a gate is open, from 0 (shut) to 1 (open).

    A little of the sigmoid's range is cut off at both ends: shut is zero, not nearly zero.
    """
    return (1.2 * logits.sigmoid() - 0.1).clamp(0, 1)


def bin_power(spectrum: Tensor) -> Tensor:
    """Power of complex numbers whose two parts lie along axis 1, which stays, of length 1.

    By a product, since a square is exported as a power, which runtimes take number by number.
    """
    return (spectrum * spectrum).sum(dim=1, keepdim=True)


class CausalBlock(nn.Module):
    """Residual block: depthwise convolution (bands x frames, causal), then pointwise.

    Its state is the input of the last ``2 * dilation`` frames.

    Args:
        channels: in and out.
        dilation: in frames, between the three that the depthwise convolution sees.
        height: bands that it sees, odd; 1 for features that have no axis of bands.
    """

    def __init__(self, channels: int, dilation: int = 1, height: int = 3):
        super().__init__()
        self.history = 2 * dilation
        self.depthwise = nn.Conv2d(
            channels,
            channels,
            (height, 3),
            padding=(height // 2, 0),
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
        if self.training and self.depthwise.kernel_size[0] == 1 and window.device.type == "cpu":
            y = _ThreeTaps.apply(window, self.depthwise.weight, self.history // 2)
        else:
            y = self.depthwise(window)
        y = functional.relu(self.depthwise_norm(y))
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


class _ThreeTaps(torch.autograd.Function):
    """A depthwise convolution over three frames as three products.

    PyTorch's own takes a quarter more of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, window: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(window, weight)
        ctx.dilation = dilation
        first, second, third = _three(window, dilation)
        taps = weight.to(window.dtype).transpose(0, 1)
        result = third * taps[..., 2:]
        return result.addcmul_(second, taps[..., 1:2]).addcmul_(first, taps[..., :1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        window, weight = ctx.saved_tensors
        taps = weight.to(grad.dtype).transpose(0, 1)
        of_window, of_taps = torch.zeros_like(window), []
        parts = zip(_three(window, ctx.dilation), _three(of_window, ctx.dilation), strict=True)
        for tap, (part, place) in enumerate(parts):
            place.addcmul_(grad, taps[..., tap : tap + 1])
            of_taps.append((grad * part).sum(dim=(0, 2, 3), dtype=weight.dtype))
        return of_window, torch.stack(of_taps, dim=1)[:, None, None], None


def _three(window: Tensor, dilation: int) -> list[Tensor]:
    """Return what each of three taps is multiplied with: views (batch, channels, 1, frames)."""
    frames = window.shape[3] - 2 * dilation
    return [window[..., start : start + frames] for start in (0, dilation, 2 * dilation)]
