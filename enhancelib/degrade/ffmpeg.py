"""FFmpeg's encoders and decoders through PyAV, packet to packet: no container, no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import numpy as np

from enhancelib.audio.decoding import samples

if TYPE_CHECKING:
    from av import AudioCodecContext


@dataclass(frozen=True)
class FfmpegCoder:
    """One encoder and its decoder, by FFmpeg's names.

    Attributes:
        encoder: name of the encoder.
        decoder: name of the decoder.
        sample_format: what the encoder takes, such as ``fltp`` or ``s16``.
        tune: function setting -> (bit rate in bit/s or ``None``, FFmpeg's options).
    """

    encoder: str
    decoder: str
    sample_format: str
    tune: Callable[[int | None], tuple[int | None, dict[str, str]]]

    def encode(
        self, wave: np.ndarray, *, sample_rate: int, setting: int | None
    ) -> tuple[list[bytes], bytes]:
        """Encode a wave ``(1 or 2, samples)`` in [-1, 1]; integer formats clip what is beyond.

        Args:
            wave: the signal.
            sample_rate: rate in Hz.
            setting: bit rate in kbit/s, bitpool, or ``None``, as :attr:`tune` takes it.

        Returns:
            The packets, and the header a decoder needs beforehand (FFmpeg's "extradata").
        """
        import av

        context = cast("AudioCodecContext", av.CodecContext.create(self.encoder, "w"))
        context.sample_rate = sample_rate
        context.layout = _layout(len(wave))
        context.format = self.sample_format
        context.time_base = Fraction(1, sample_rate)
        bit_rate, context.options = self.tune(setting)
        if bit_rate is not None:
            context.bit_rate = bit_rate
        context.open()
        packets = [*context.encode(self._frame(wave, sample_rate)), *context.encode(None)]
        return [bytes(packet) for packet in packets], bytes(context.extradata or b"")

    def decode(
        self, packets: Sequence[bytes], *, header: bytes, sample_rate: int, channels: int
    ) -> np.ndarray:
        """Decode packets to float32 ``(channels, samples)``, with the codec's whole delay."""
        import av

        context = cast("AudioCodecContext", av.CodecContext.create(self.decoder, "r"))
        context.sample_rate = sample_rate
        context.layout = _layout(channels)
        if header:
            context.extradata = header
        frames = []
        for packet in [*map(av.Packet, packets), None]:
            frames += context.decode(packet)
        return np.concatenate([samples(frame) for frame in frames], axis=1)

    def _frame(self, wave: np.ndarray, sample_rate: int):
        """Put a wave into the encoder's sample format; integers are rounded and clipped."""
        import av

        data = wave
        if self.sample_format.startswith("s"):
            bits = int(self.sample_format[1:3])
            full = 2.0 ** (bits - 1)
            data = np.clip(np.rint(wave.astype(np.float64) * full), -full, full - 1)
            data = data.astype(f"int{bits}")
        if not self.sample_format.endswith("p"):
            data = data.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(data), format=self.sample_format, layout=_layout(len(wave))
        )
        frame.sample_rate, frame.pts = sample_rate, 0
        return frame


def _layout(channels: int) -> str:
    return "stereo" if channels == 2 else "mono"
