"""Short-time spectra of a batch of waves, shared by the losses that look at them."""

from typing import Self

import torch
from torch import Tensor


class Spectra:
    """A wave (batch, 1, samples) and its short-time spectra, each computed once.

    Hann window, hop half the frame: a quarter costs twice as much.
    """

    def __init__(self, wave: Tensor):
        self.wave = wave
        self._complex: dict[int, Tensor] = {}
        self._power: dict[int, Tensor] = {}

    @classmethod
    def of(cls, wave: "Tensor | Spectra") -> Self:
        """``wave`` itself if it is one already."""
        return wave if isinstance(wave, cls) else cls(wave)

    def complex(self, frame_length: int) -> Tensor:
        """STFT, (batch, bins, frames)."""
        if frame_length not in self._complex:
            self._complex[frame_length] = torch.stft(
                self.wave[:, 0],
                frame_length,
                hop_length=frame_length // 2,
                window=torch.hann_window(frame_length, device=self.wave.device),
                return_complex=True,
            )
        return self._complex[frame_length]

    def power(self, frame_length: int) -> Tensor:
        """``|STFT|²``, (batch, bins, frames)."""
        if frame_length not in self._power:
            self._power[frame_length] = power_of(self.complex(frame_length))
        return self._power[frame_length]


def power_of(spectrum: Tensor) -> Tensor:
    """``|X|²`` of a complex tensor."""
    return spectrum.real.square() + spectrum.imag.square()
