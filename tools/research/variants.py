"""Networks and a training task that tools/research/ablate.py compares with the published ones."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from enhancelib.model.blocks import gate_of
from enhancelib.model.fourier import RealFourier
from enhancelib.model.network import AudioUNet, ModelConfig, SpectralCore
from enhancelib.model.spectra import Spectra
from enhancelib.train.task import Restorer, TrainingConfig


class LearnedTransform(nn.Module):
    """A basis that is trained with the network instead of Fourier's, from which it begins."""

    def __init__(self, fourier: RealFourier):
        super().__init__()
        length, bins = fourier.length, fourier.bins
        with torch.no_grad():
            analysis = fourier(torch.eye(length)[None])[0].reshape(length, 2 * bins)
            synthesis = fourier.inverse(torch.eye(2 * bins).reshape(1, -1, 2, bins))[0]
        self.analysis, self.synthesis = nn.Parameter(analysis), nn.Parameter(synthesis)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, length) → (batch, frames, 2, bins)."""
        return (frames @ self.analysis).unflatten(2, (2, -1))

    def inverse(self, spectrum: Tensor) -> Tensor:
        """(batch, frames, 2, bins) → (batch, frames, length)."""
        return spectrum.flatten(2) @ self.synthesis


def learned_front_end(config: ModelConfig) -> AudioUNet:
    """The U-Net between a learned analysis and a learned synthesis."""
    model = AudioUNet(**config.model_dump())
    model.fourier = LearnedTransform(model.fourier)
    return model


class FrameBlock(nn.Module):
    """ConvNeXt block over time (Liu et al., arXiv:2201.03545), causal, with batch norm."""

    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, groups=width)
        self.norm = nn.BatchNorm1d(width)
        self.wide = nn.Conv1d(width, 3 * width, 1)
        self.narrow = nn.Conv1d(3 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, frames), the same out."""
        y = self.norm(self.depthwise(functional.pad(x, (6, 0))))
        return x + self.narrow(functional.relu(self.wide(y)))


class FrameCore(SpectralCore):
    """All bins of a frame as channels of a ConvNet over time, as in AP-BWE (arXiv:2401.06387).

    The same features, head and gate as the U-Net, and as many multiplications.
    """

    WIDTH, BLOCKS = 256, 6

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        used, width = config.hop_length, self.WIDTH
        for part in ("embedding_norm", "encoder", "down", "bottom", "up", "decoder"):
            delattr(self, part)
        self.embedding = nn.Conv1d(3 * used, width, 1)
        self.blocks = nn.Sequential(*(FrameBlock(width) for _ in range(self.BLOCKS)))
        self.head = nn.Conv1d(width, 4 * used, 1)
        self.gate, self.gate_context = nn.Conv1d(width, config.bands, 1), None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def state_shapes(self) -> list[tuple[int, int, int]]:
        """Return no shapes: this network runs on whole clips and keeps nothing between them."""
        return []

    def with_gate(self, spectrum: Tensor, states: object) -> tuple[Tensor, list[Tensor], Tensor]:
        """Enhance the spectrum of whole clips and return the gate's logits too.

        Shapes are those of the U-Net's core. The states are not looked at, and none come back.
        """
        used = self.config.hop_length
        body, nyquist = spectrum[:, :, :used] / self.scale, spectrum[:, :, used:]
        magnitude = (body.square().sum(dim=1, keepdim=True) + self.FLOOR).sqrt()
        features = [body * magnitude ** (self.COMPRESSION - 1), magnitude**self.COMPRESSION]
        x = self.blocks(self.embedding(torch.cat(features, dim=1).flatten(1, 2)))
        logits = self.gate(x)
        gate = gate_of(logits).repeat_interleave(self.band_bins, dim=1).unsqueeze(1)
        enhanced = (body + gate * self._correction(x, body)) * self.scale
        return torch.cat([enhanced, nyquist], dim=2), [], logits


def frame_network(config: ModelConfig) -> AudioUNet:
    """A network of :class:`FrameCore`."""
    model = AudioUNet(**config.model_dump())
    model.core = FrameCore(config)
    return model


class Discriminator(nn.Module):
    """Tells spectrograms of music from enhanced ones (Jang et al., "UnivNet", arXiv:2106.07889)."""

    WIDTH = 24

    def __init__(self, frame_length: int):
        super().__init__()
        self.frame_length = frame_length
        widths = [1, *[self.WIDTH] * 4]
        layers = [
            nn.Conv2d(a, b, (9, 3), stride=(3, 1), padding=(4, 1)) for a, b in pairwise(widths)
        ]
        self.layers = nn.ModuleList([*layers, nn.Conv2d(self.WIDTH, 1, 3, padding=1)])

    def forward(self, spectra: Spectra) -> tuple[Tensor, list[Tensor]]:
        """Verdicts, one per patch, and what every layer saw."""
        x = (spectra.power(self.frame_length)[:, None] + 1e-8) ** 0.15
        seen = []
        for layer in self.layers[:-1]:
            x = functional.leaky_relu(layer(x), 0.2)
            seen.append(x)
        return self.layers[-1](x), seen


class AdversarialRestorer(Restorer):
    """The training task with least-squares discriminators and feature matching (2010.05646)."""

    VERDICT, FEATURES = 0.05, 0.1

    def __init__(self, model: AudioUNet, config: TrainingConfig, conditions: list[str]):
        super().__init__(model, config, conditions)
        self.automatic_optimization = False
        self.judges = nn.ModuleList(Discriminator(length) for length in (512, 2048))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        """One step of the discriminators, then one of the network."""
        loss, (enhanced, reference) = self.losses(batch)
        network, judges = self.optimizers()
        fake, real = Spectra(enhanced.wave.detach()), Spectra(reference.wave)
        judged = sum(
            (judge(real)[0] - 1).square().mean() + judge(fake)[0].square().mean()
            for judge in self.judges
        )
        self.step(judges, judged, self.judges)
        for judge in self.judges:
            verdict, seen = judge(enhanced)
            loss = loss + self.VERDICT * (verdict - 1).square().mean()
            matched = [functional.l1_loss(*pair) for pair in zip(seen, judge(real)[1], strict=True)]
            loss = loss + self.FEATURES * sum(matched) / len(matched)
        self.step(network, loss, self.model)
        self.training_losses.append(loss.item())

    def step(self, optimizer: torch.optim.Optimizer, loss: Tensor, module: nn.Module) -> None:
        """Backward and one clipped step of the parameters of ``module``."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        nn.utils.clip_grad_norm_(module.parameters(), self.config.gradient_clip)
        optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One for the network, one for the discriminators; the comparison sets the rate."""
        return [
            torch.optim.AdamW(part.parameters(), lr=self.config.learning_rate)
            for part in (self.model, self.judges)
        ]
