"""Losses of spectra in which the loud does not drown the quiet, whatever the level.

A raw error of samples or bins is one of the bass, which lies 60 dB over the treble. A power law of
0.3 for the magnitudes brings both near to what the ear makes of them (Braun & Tashev, "Data
augmentation and loss normalization for deep noise suppression", arXiv:2008.06412; the complex form:
Ephrat et al., arXiv:1804.03619). Spectra are taken from waves, so they are consistent: no estimate
can please here with bins that no wave has.

Each takes ``(estimate, reference)``, waves (batch, 1, samples) or their
:class:`~enhancelib.model.spectra.Spectra`, and returns a scalar, zero for equal signals.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from enhancelib.model.spectra import Spectra

FRAME_LENGTHS = (512, 2048)
COMPRESSION = 0.3
RANGE_DB = 90.0
"""Bins so far under the loudest one of the reference's frame count as that."""


def compressed_magnitude(estimate: Tensor | Spectra, reference: Tensor | Spectra) -> Tensor:
    """Mean squared difference of the magnitudes to the power 0.3, over two STFT sizes."""
    return _mean(_magnitude_error, estimate, reference)


def compressed_complex(estimate: Tensor | Spectra, reference: Tensor | Spectra) -> Tensor:
    """Mean squared distance of complex bins whose magnitudes are raised to the power 0.3.

    The phases stay, so an error of phase counts, as it does not in :func:`compressed_magnitude`.
    """
    return _mean(_complex_error, estimate, reference)


def relative_magnitude(estimate: Tensor | Spectra, reference: Tensor | Spectra) -> Tensor:
    """Mean absolute difference of log10 power, with a floor relative to the frame.

    As :func:`enhancelib.model.losses.log_magnitude`, which has a fixed floor and so wants less
    treble of quiet music.
    """
    return _mean(_decades, estimate, reference)


def _mean(
    error: Callable[[Spectra, Spectra, int], Tensor],
    estimate: Tensor | Spectra,
    reference: Tensor | Spectra,
) -> Tensor:
    pair = Spectra.of(estimate), Spectra.of(reference)
    return sum(error(*pair, length) for length in FRAME_LENGTHS) / len(FRAME_LENGTHS)


def _floor(reference: Spectra, frame_length: int) -> Tensor:
    """Least power that counts in each frame, (batch, 1, frames)."""
    loudest = reference.power(frame_length).amax(dim=1, keepdim=True)
    return (10 ** (-RANGE_DB / 10) * loudest).clamp(min=1e-12)


def _magnitude_error(estimate: Spectra, reference: Spectra, frame_length: int) -> Tensor:
    floor = _floor(reference, frame_length)
    compressed = [
        (spectra.power(frame_length) + floor) ** (COMPRESSION / 2)
        for spectra in (estimate, reference)
    ]
    return functional.mse_loss(*compressed)


def _complex_error(estimate: Spectra, reference: Spectra, frame_length: int) -> Tensor:
    floor = _floor(reference, frame_length)
    one, other = (
        spectra.complex(frame_length)
        * (spectra.power(frame_length) + floor) ** ((COMPRESSION - 1) / 2)
        for spectra in (estimate, reference)
    )
    difference = one - other
    return (difference.real.square() + difference.imag.square()).mean()


def _decades(estimate: Spectra, reference: Spectra, frame_length: int) -> Tensor:
    floor = _floor(reference, frame_length)
    return functional.l1_loss(
        *((spectra.power(frame_length) + floor).log10() for spectra in (estimate, reference))
    )
