"""The network: a light causal U-Net over the bands of a short-time spectrum.

A waveform is cut into half-overlapping frames and transformed (STFT with a sqrt-Hann window,
perfect reconstruction). Neighbouring bins are grouped into bands, each embedded on its own; the
U-Net then halves the number of bands level by level with depthwise-separable convolutions (Howard
et al., "MobileNets", arXiv:1704.04861) inside residual blocks (Sandler et al., "MobileNetV2",
arXiv:1801.04381), and doubles it again with additive skips (Ronneberger et al., "U-Net",
arXiv:1505.04597). The head yields, per bin, a complex mask around one and a complex residual that
can fill bins the codec emptied. It starts at zero, so an untrained network is the identity. A gate
per band and frame scales both; it is trained to shut where nothing was lost, and then what came in
goes out. With a fill, :mod:`enhancelib.model.fill` writes what was emptied where the gate is open.

Time is causal: every convolution sees the present frame and past ones, held in explicit state
tensors. A clip and a stream run the same layers; a clip only starts from zero state and passes all
of its frames at once.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn
from torch.nn import functional

from enhancelib.audio.waves import analysis_window
from enhancelib.checks import first_problem
from enhancelib.errors import ConfigError, ModelError
from enhancelib.model.blocks import BandScale, CausalBlock, bin_power, gate_of
from enhancelib.model.checkpoints import read_checkpoint, write_checkpoint
from enhancelib.model.fill import FillConfig, FillHead, limited, running_level
from enhancelib.model.fourier import RealFourier
from enhancelib.model.weights import DEFAULT_PRESET, find_weights


class ModelConfig(BaseModel):
    """Everything that fixes the shape of the network.

    Attributes:
        base_channels: width unit; level ``i`` of the U-Net has ``base_channels * (i + 2)`` of them.
        depth: number of levels; each halves the number of bands.
        dropout: probability of dropping a channel at the bottom of the U-Net, in training only.
        sample_rate: in Hz; the rate of the audio that goes in and comes out.
        frame_length: STFT frame in samples; the latency is one sample less.
        hop_length: in samples; always half the frame.
        bands: groups of neighbouring bins; divides ``frame_length / 2`` and is itself divisible by
            ``2 ** (depth - 1)``.
        blocks: residual blocks per level, on the way down and on the way up.
        dilations: dilation in frames of each residual block at the bottom.
        gated: whether each band's correction is scaled by a gate.
        widths: channels of each level, in place of those that ``base_channels`` gives; so a pruned
            network is an ordinary one.
        fill: shape of what fills emptied bins; ``None`` for a network without. With it the features
            are in units of the running level, and the mask and the residual are limited: see
            :func:`enhancelib.model.fill.limited`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_channels: int = Field(32, ge=4, le=256)
    depth: int = Field(4, ge=2, le=6)
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    sample_rate: int = Field(44100, ge=8000, le=192000)
    frame_length: int = Field(1024, ge=64, le=8192)
    hop_length: int = Field(512, ge=32, le=4096)
    bands: int = Field(32, ge=2, le=512)
    blocks: int = Field(2, ge=1, le=8)
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 4, 8, 16, 32)
    gated: bool = True
    widths: tuple[Annotated[int, Field(ge=1, le=2048)], ...] | None = None
    fill: FillConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hop_length * 2 != self.frame_length:
            raise ValueError("hop_length must be half of frame_length")
        if self.hop_length % self.bands:
            raise ValueError(f"bands must divide {self.hop_length} (half the frame)")
        if self.bands % 2 ** (self.depth - 1):
            raise ValueError(f"bands must be divisible by {2 ** (self.depth - 1)} at this depth")
        if self.widths is not None and len(self.widths) != self.depth:
            raise ValueError(f"widths must name {self.depth} levels, as depth says")
        if self.fill is not None:
            self.fill.check(self.hop_length, self.channels, self.bands if self.gated else 1)
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level, the widest spectrum first."""
        regular = tuple(self.base_channels * (level + 2) for level in range(self.depth))
        return regular if self.widths is None else self.widths

    @property
    def bins(self) -> int:
        """Bins of one frame's spectrum, DC and Nyquist included."""
        return self.frame_length // 2 + 1


USUAL_LEVEL = 10**-4.1
"""Mean power of a bin in music as it is published, in units of a full-scale sine's peak. A network
with a fill hears all music at this level, so one that was taught without can go on from there."""

PRESETS = {
    "fullband-44k": ModelConfig(),
    "seed-22k": ModelConfig(sample_rate=22050, frame_length=512, hop_length=256, bands=16),
}


def preset_config(preset: str) -> ModelConfig:
    """The configuration of a named preset.

    Raises:
        ConfigError: no such preset.
    """
    if preset not in PRESETS:
        raise ConfigError(f"no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[preset]


class SpectralCore(nn.Module):
    """The U-Net proper: spectrum and states in, spectrum and states out."""

    COMPRESSION = 0.3
    """Power of the magnitude in the input features (Braun & Tashev, arXiv:2009.12286)."""

    FLOOR = 2e-8
    """Added to squared magnitudes. The ONNX optimiser drops an addition of 1e-8 or less as one of
    zero, and silence then turns into NaN."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        channels, bands = config.channels, config.bands
        self.band_bins = config.hop_length // bands
        # A full-scale sine peaks near this magnitude, so features and residual are of order one.
        self.scale = float(analysis_window(config.frame_length).sum()) / 2
        self.embedding = nn.Conv1d(
            bands * 3 * self.band_bins, bands * channels[0], 1, groups=bands, bias=False
        )
        self.embedding_norm = nn.BatchNorm1d(bands * channels[0])
        self.encoder = nn.ModuleList(
            CausalBlock(width) for width in channels[:-1] for _ in range(config.blocks)
        )
        self.down = nn.ModuleList(BandScale(a, b, down=True) for a, b in pairwise(channels))
        self.bottom = nn.ModuleList(CausalBlock(channels[-1], d) for d in config.dilations)
        self.dropout = nn.Dropout2d(config.dropout)
        upwards = channels[::-1]
        self.up = nn.ModuleList(BandScale(a, b, down=False) for a, b in pairwise(upwards))
        self.decoder = nn.ModuleList(
            CausalBlock(width) for width in upwards[1:] for _ in range(config.blocks)
        )
        self.head = nn.Conv1d(bands * channels[0], bands * 4 * self.band_bins, 1, groups=bands)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if config.gated:
            # What the band sounds like now, and what the whole clip sounded like so far.
            self.gate = nn.Conv1d(bands * channels[0], bands, 1, groups=bands)
            self.gate_context = nn.Conv1d(
                channels[-1] * (bands >> (config.depth - 1)), bands, 1, bias=False
            )
        self.fill = None if config.fill is None else FillHead(config.fill, config.hop_length)

    def state_shapes(self) -> list[tuple[int, ...]]:
        """(channels, bands, frames) of the blocks' states as they run, then those of the fill."""
        config = self.config
        blocks = [*self.encoder, *self.bottom, *self.decoder]
        levels = [i for i in range(config.depth - 1) for _ in range(config.blocks)]
        levels = levels + [config.depth - 1] * len(config.dilations) + levels[::-1]
        shapes: list[tuple[int, ...]] = [
            (block.depthwise.in_channels, config.bands >> level, block.history)
            for block, level in zip(blocks, levels, strict=True)
        ]
        return shapes if self.fill is None else shapes + self.fill.state_shapes()

    def forward(self, spectrum: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Enhance ``spectrum`` (batch, 2, bins, frames) given the states left by earlier frames."""
        enhanced, kept, _ = self.with_gate(spectrum, states)
        return enhanced, kept

    def with_gate(
        self, spectrum: Tensor, states: Sequence[Tensor], *, fill: bool = True
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Enhance frames like :meth:`forward`, and return the logits of the gate too.

        These are (batch, bands, frames), ``None`` without a gate. ``fill=False`` leaves out the
        last step; the states are then of no use for what follows.
        """
        used = self.config.hop_length
        body, nyquist = spectrum[:, :, :used] / self.scale, spectrum[:, :, used:]
        remaining = list(states)
        kept: list[Tensor] = []

        def run(blocks: Sequence[nn.Module], x: Tensor) -> Tensor:
            for block in blocks:
                x, state = block(x, remaining.pop(0))
                kept.append(state)
            return x

        unit, power = body, bin_power(body)
        if self.fill is not None:
            mean = power.squeeze(1).mean(dim=1, keepdim=True)
            running, running_state = running_level(mean, remaining.pop(-self.fill.states))
            gain = USUAL_LEVEL / running.unsqueeze(1)
            unit, power = body * gain.sqrt(), power * gain
        x = self._embed(unit, power)
        skips = []
        for level, down in enumerate(self.down):
            x = run(self._level(self.encoder, level), x)
            skips.append(x)
            x = down(x)
        x = self.dropout(run(self.bottom, x))
        context = self.gate_context(x.flatten(1, 2)) if self.config.gated else None
        for level, up in enumerate(self.up):
            x = run(self._level(self.decoder, level), up(x) + skips.pop())
        x = x.transpose(1, 2).flatten(1, 2)
        correction = self._correction(x, body)
        logits, gate = None, None
        if self.config.gated:
            logits = self.gate(x) + context
            gate = gate_of(logits)
            correction = correction * gate.repeat_interleave(self.band_bins, dim=1).unsqueeze(1)
        if self.fill is None:
            enhanced = body + correction
        else:
            enhanced = body + limited(correction, body, self.fill.predictor.config.band_bins)
            if fill:
                enhanced, states_out = self.fill(body, enhanced, running, remaining, gate)
                kept += [running_state, *states_out]
        return torch.cat([enhanced * self.scale, nyquist], dim=2), kept, logits

    def _level(self, blocks: nn.ModuleList, level: int) -> Sequence[nn.Module]:
        return blocks[level * self.config.blocks : (level + 1) * self.config.blocks]

    def _embed(self, body: Tensor, power: Tensor) -> Tensor:
        """Compressed real part, imaginary part and magnitude → (batch, channels, bands, frames)."""
        batch, frames = body.shape[0], body.shape[3]
        bands, width = self.config.bands, self.config.channels[0]
        # By logarithms: runtimes have fast ones, but raise to a power number by number.
        power = (power + self.FLOOR).log()
        features = torch.cat(
            [
                body * ((self.COMPRESSION - 1) / 2 * power).exp(),
                (self.COMPRESSION / 2 * power).exp(),
            ],
            dim=1,
        )
        features = features.reshape(batch, 3, bands, self.band_bins, frames).transpose(1, 2)
        x = self.embedding(features.reshape(batch, bands * 3 * self.band_bins, frames))
        x = functional.relu(self.embedding_norm(x))
        return x.reshape(batch, bands, width, frames).transpose(1, 2)

    def _correction(self, x: Tensor, body: Tensor) -> Tensor:
        """Complex mask times the bins, plus a complex residual."""
        frames = x.shape[2]
        bands = self.config.bands
        x = self.head(x).reshape(-1, bands, 4, self.band_bins, frames).transpose(1, 2)
        x = x.reshape(-1, 4, bands * self.band_bins, frames)
        mask, residual = x[:, :2], x[:, 2:]
        real, imaginary = body[:, :1], body[:, 1:]
        masked = torch.cat(
            [
                real * mask[:, :1] - imaginary * mask[:, 1:],
                imaginary * mask[:, :1] + real * mask[:, 1:],
            ],
            dim=1,
        )
        # Nearly quadratic: music's high bands lie 60 dB under its low ones, and one linear layer
        # has to reach both. The small linear part keeps the gradient alive at the zero start. In
        # units of the frame's own level, so that silence stays silent.
        size = (bin_power(residual) + self.FLOOR).sqrt()
        level = (bin_power(body).mean(dim=2, keepdim=True) + 1e-20).sqrt()
        return masked + residual * (size + 0.01) * level


class AudioUNet(nn.Module):
    """The enhancer, waveform to waveform.

    Args:
        base_channels, depth, dropout, sample_rate: see :class:`ModelConfig`.
        **settings: the remaining fields of :class:`ModelConfig`.

    Raises:
        ConfigError: an unknown setting or an impossible value, named.
    """

    def __init__(
        self,
        base_channels: int = 32,
        depth: int = 4,
        dropout: float = 0.1,
        sample_rate: int = 44100,
        **settings: object,
    ):
        super().__init__()
        try:
            self.config = ModelConfig(
                base_channels=base_channels,
                depth=depth,
                dropout=dropout,
                sample_rate=sample_rate,
                **settings,
            )
        except ValidationError as error:
            raise ConfigError(f"model configuration: {first_problem(error)}") from None
        self.core = SpectralCore(self.config)
        self.fourier = RealFourier(self.config.frame_length)
        window = torch.from_numpy(analysis_window(self.config.frame_length))
        self.register_buffer("window", window, persistent=False)

    @classmethod
    def from_preset(cls, preset: str) -> Self:
        """An untrained network (the identity) in the shape of a preset."""
        return cls(**preset_config(preset).model_dump())

    @classmethod
    def from_pretrained(cls, preset: str = DEFAULT_PRESET) -> Self:
        """The published weights of a preset, in evaluation mode."""
        preset_config(preset)
        return cls.load(find_weights("published", preset=preset))

    @property
    def latency_samples(self) -> int:
        """Delay of the streamed output: a sample is final once the last frame over it is full."""
        return self.config.frame_length - 1

    @property
    def num_parameters(self) -> int:
        """Trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def initial_state(self, channels: int = 1) -> tuple[Tensor, ...]:
        """Zero states for ``channels`` audio channels that share the network."""
        return tuple(self.window.new_zeros(channels, *shape) for shape in self.core.state_shapes())

    def forward(self, wave: Tensor) -> Tensor:
        """Enhance a clip.

        Args:
            wave: (batch, 1, samples) in [-1, 1], any number of samples; channels of a stereo clip
                go into the batch.

        Returns:
            Tensor of the same shape, aligned with the input.
        """
        spectrum, _ = self.core(self.analyze(wave), self.initial_state(wave.shape[0]))
        return self.synthesize(spectrum, wave.shape[-1])

    def with_gate(self, wave: Tensor) -> tuple[Tensor, Tensor | None]:
        """Enhance like :meth:`forward`, and return the gate's logits (batch, bands, frames) too."""
        states = self.initial_state(wave.shape[0])
        spectrum, _, logits = self.core.with_gate(self.analyze(wave), states)
        return self.synthesize(spectrum, wave.shape[-1]), logits

    def step(self, spectrum: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Enhance the next frames, one or several.

        Args:
            spectrum: (channels, frames, bins, 2), the windowed real FFT of each frame, not
                normalised.
            *states: from :meth:`initial_state` or the previous call, leading axis ``channels``.

        Returns:
            The enhanced spectrum, same shape, then the new states.
        """
        enhanced, states_out = self.core(spectrum.permute(0, 3, 2, 1), states)
        return enhanced.permute(0, 3, 2, 1), *states_out

    def analyze(self, wave: Tensor) -> Tensor:
        """STFT: (batch, 1, samples) → (batch, 2, bins, frames); frame k is centred on k * hop."""
        hop, batch = self.config.hop_length, wave.shape[0]
        padded = functional.pad(wave[:, 0], (hop, 2 * hop - 1))
        count = padded.shape[1] // hop
        hops = padded[:, : count * hop].reshape(batch, count, hop)
        frames = torch.cat([hops[:, :-1], hops[:, 1:]], dim=2)
        return self.fourier(frames * self.window).permute(0, 2, 3, 1)

    def synthesize(self, spectrum: Tensor, samples: int) -> Tensor:
        """Inverse of :meth:`analyze`, cut to ``samples``."""
        hop, batch, frames = self.config.hop_length, spectrum.shape[0], spectrum.shape[3]
        halves = self.fourier.inverse(spectrum.permute(0, 3, 1, 2)) * self.window
        wave = halves[:, 1:, :hop] + halves[:, :-1, hop:]
        return wave.reshape(batch, 1, (frames - 1) * hop)[:, :, :samples]

    def save(
        self, path: str | Path, *, overwrite: bool = False, metadata: dict[str, str] | None = None
    ) -> Path:
        """Write weights and configuration to ``.safetensors`` or ``.pth``.

        Args:
            path: of the file.
            overwrite: whether a file that is there may be replaced.
            metadata: kept beside them; what it says of the configuration gives way to this one.

        Raises:
            ModelError: the file exists and ``overwrite`` is not set, or its suffix is another.
        """
        facts = {**(metadata or {}), "config": self.config.model_dump_json()}
        return write_checkpoint(path, facts, self.state_dict(), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a checkpoint written by :meth:`save`; tensors only, no pickled code is run.

        Raises:
            ModelError: the file is missing, damaged or not one of ours.
        """
        facts, weights = read_checkpoint(path)
        try:
            model = cls(**json.loads(facts["config"]))
            model.load_state_dict(weights)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{path}: not a checkpoint of this network ({reason})") from None
        return model.eval()
