"""Distances between two signals seen through the short-time Fourier transform.

Every function takes ``(estimate, reference)``, two waves of one shape ``(channels, samples)`` in
[-1, 1], and returns one number. Unless a docstring says otherwise, lower is better, and the
transform has a 2048-sample periodic Hann window and hops of 512, is centred and sees zeros beyond
the ends (librosa's defaults). Two-channel signals give the mean over channels, or the norm over all
of them where a formula is a ratio of norms.

All raise :class:`~enhancelib.errors.InputError` for a wave that is empty, holds NaN or infinity, or
differs in shape from the other.
"""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from enhancelib.audio.masking import SURVIVAL
from enhancelib.evaluate.metrics.waveform import (
    CLAMP_DB,
    check_pair,
    ratio,
    scale_invariant_ratio_db,
)

N_FFT = 2048
HOP_LENGTH = 512
POWER_FLOOR = 1e-8
"""Power under which the log-spectral distances see silence."""
SURVIVED_DB = 60.0
"""Bins this far under the loudest one are left out of the phase and in-band measures."""
SPLIT_HZ = 8000.0
"""Where the high band of :func:`log_spectral_distance_hf` begins."""
IMAGE_RANGE_DB = 60.0
"""Third octaves whose mid or side lies further under the loudest one have no image to change."""
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""(transform, hop, window) in samples of :func:`multi_resolution_stft_distance`."""
BAND_FRAME, BAND_BINS = 1024, 8
"""Frame in samples, and bins of each band, of the measures of what was emptied."""
EMPTIED_DB, BAND_RANGE_DB = 10.0, 80.0
"""A band was emptied if it lies so far under the reference's; those of the reference that lie
further than the second under its loudest one are not looked at."""


# --- one transform, shared -------------------------------------------------------------------


class _Content:
    """A wave that compares and hashes by what it holds, so that ``lru_cache`` can key on it."""

    def __init__(self, wave: np.ndarray):
        self.wave = wave
        self._hash = hash(wave.tobytes())

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and np.array_equal(self.wave, other.wave)


def _stft(wave: np.ndarray, n_fft: int, hop_length: int, win_length: int) -> np.ndarray:
    """Complex spectrum (channels, bins, frames), unnormalised; the window sits mid-frame."""
    window = np.zeros(n_fft, np.float32)
    start = (n_fft - win_length) // 2
    window[start : start + win_length] = 0.5 - 0.5 * np.cos(
        2 * np.pi * np.arange(win_length) / win_length
    )
    padded = np.pad(wave, ((0, 0), (n_fft // 2, n_fft // 2)))
    frames = sliding_window_view(padded, n_fft, axis=-1)[:, ::hop_length]
    return scipy.fft.rfft(frames * window, axis=-1).swapaxes(1, 2)


@lru_cache(maxsize=4)
def _spectrum(content: _Content) -> np.ndarray:
    return _stft(content.wave, N_FFT, HOP_LENGTH, N_FFT)


@lru_cache(maxsize=4)
def _magnitude(content: _Content) -> np.ndarray:
    return np.abs(_spectrum(content))


@lru_cache(maxsize=4)
def _power(content: _Content) -> np.ndarray:
    return _magnitude(content) ** 2


@lru_cache(maxsize=4)
def _log_power(content: _Content, floor: float) -> np.ndarray:
    return np.log(np.maximum(_power(content), floor)) / np.float32(np.log(10))  # log10 is slow


@lru_cache(maxsize=4)
def _chroma(content: _Content, sample_rate: int) -> np.ndarray:
    import librosa

    return librosa.feature.chroma_stft(S=_power(content), sr=sample_rate, n_fft=N_FFT, tuning=0.0)


def forget_spectra() -> None:
    """Free the transforms kept from the last waves (they are four times the waves' size)."""
    for cached in (_spectrum, _magnitude, _power, _log_power, _chroma):
        cached.cache_clear()


def _contents(estimate: np.ndarray, reference: np.ndarray) -> tuple[_Content, _Content]:
    estimate, reference = check_pair(estimate, reference)
    return _Content(estimate), _Content(reference)


# --- magnitude and phase ---------------------------------------------------------------------


def magnitude_distance(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Mean absolute difference of the magnitude spectra, ``mean | |X| - |X̂| |``. Symmetric."""
    estimate, reference = _contents(estimate, reference)
    return float(np.mean(np.abs(_magnitude(estimate) - _magnitude(reference))))


def phase_distance(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Mean absolute phase difference in radians, 0 to π, weighted by the reference's magnitude.

    Bins more than 60 dB under the reference's loudest are left out. A bin the estimate leaves empty
    has no phase and counts π/2, the mean for a random one. 0 for a silent reference.
    """
    estimate, reference = _contents(estimate, reference)
    spectrum, weight = _spectrum(estimate), _magnitude(reference)
    difference = np.abs(np.angle(spectrum * _spectrum(reference).conj()))
    difference[spectrum == 0] = np.pi / 2
    heard = weight > weight.max() * 10 ** (-SURVIVED_DB / 20)
    return ratio(np.sum((weight * difference)[heard]), np.sum(weight[heard]))


def spectral_convergence(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Relative error of the magnitude spectra, ``‖|X̂| - |X|‖ / ‖|X|‖`` (Arık et al. 2019)."""
    estimate, reference = (_magnitude(content) for content in _contents(estimate, reference))
    return ratio(np.linalg.norm(estimate - reference), np.linalg.norm(reference))


def multi_resolution_stft_distance(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Spectral convergence plus mean log-magnitude error (nepers), mean of three resolutions.

    Yamamoto et al. 2020 (Parallel WaveGAN), their windows; powers under 1e-8 count as 1e-8.
    """
    estimate, reference = check_pair(estimate, reference)
    total = 0.0
    for resolution in RESOLUTIONS:
        spectra = (_stft(wave, *resolution) for wave in (estimate, reference))
        got, true = (np.maximum(x.real**2 + x.imag**2, POWER_FLOOR) for x in spectra)
        total += 0.5 * float(np.mean(np.abs(np.log(got / true))))
        got, true = np.sqrt(got), np.sqrt(true)
        total += ratio(np.linalg.norm(got - true), np.linalg.norm(true))
    return total / len(RESOLUTIONS)


# --- log-spectral distance -------------------------------------------------------------------


def _lsd(estimate: np.ndarray, reference: np.ndarray) -> float:
    """``mean_t sqrt(mean_f (difference of log10 powers)²)`` of (channels, bins, frames)."""
    return float(np.mean(np.sqrt(np.mean((estimate - reference) ** 2, axis=1))))


def log_spectral_distance(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Log-spectral distance in bels, as AERO, NU-Wave 2 and AP-BWE compute it. Symmetric.

    ``mean_t sqrt(mean_f (log10 max(|X|², 1e-8) - log10 max(|X̂|², 1e-8))²)``. Bands that are nearly
    empty in both weigh as much as loud ones: read it beside the relative and the split forms.
    """
    contents = _contents(estimate, reference)
    return _lsd(*(_log_power(content, POWER_FLOOR) for content in contents))


def log_spectral_distance_relative(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Log-spectral distance in bels with the floor 80 dB under the reference's loudest bin.

    Blind to what lies under the floor, and so to the level of the recording.
    """
    estimate, reference = _contents(estimate, reference)
    floor = POWER_FLOOR * (float(_magnitude(reference).max()) ** 2 or 1.0)
    return _lsd(_log_power(estimate, floor), _log_power(reference, floor))


def _split_bin(sample_rate: int) -> int:
    """First bin of the high band: 8 kHz, or half the spectrum where the rate is under 32 kHz."""
    return round(min(SPLIT_HZ, sample_rate / 4) * N_FFT / sample_rate)


def log_spectral_distance_hf(
    estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int
) -> float:
    """Log-spectral distance in bels of the band from 8 kHz up (upper half under 32 kHz rates)."""
    high = np.s_[:, _split_bin(sample_rate) :]
    contents = _contents(estimate, reference)
    return _lsd(*(_log_power(content, POWER_FLOOR)[high] for content in contents))


def log_spectral_distance_lf(
    estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int
) -> float:
    """Log-spectral distance in bels of the band under 8 kHz (lower half under 32 kHz rates)."""
    low = np.s_[:, : _split_bin(sample_rate)]
    contents = _contents(estimate, reference)
    return _lsd(*(_log_power(content, POWER_FLOOR)[low] for content in contents))


# --- what survived ---------------------------------------------------------------------------


def in_band_si_sdr(estimate: np.ndarray, reference: np.ndarray, *, untreated: np.ndarray) -> float:
    """Scale-invariant SDR in dB over the bins that survived the degradation. Higher is better.

    The "no harm" measure. With X the reference and Y the untreated lossy signal, a bin survived if
    ``|X - Y|² < 0.9 |X|²`` (:data:`enhancelib.audio.masking.SURVIVAL`) and ``|X|²`` lies within 60
    dB of its maximum: one mask, whatever the system. A bin that was emptied did not survive, so
    what is invented there costs nothing. Errors more than 60 dB under the signal count as none, so
    the range is -100 to 60; it is 60 where nothing survived that could be harmed.

    Args:
        estimate: What a system made of ``untreated``, or ``untreated`` itself.
        reference: The lossless original.
        untreated: The lossy signal before enhancement.
    """
    estimate, reference = check_pair(estimate, reference)
    untreated, _ = check_pair(untreated, reference)
    got, true, lossy = (_spectrum(_Content(wave)) for wave in (estimate, reference, untreated))
    power = np.abs(true) ** 2
    survived = (np.abs(true - lossy) ** 2 < SURVIVAL * power) & (
        power >= power.max() * 10 ** (-SURVIVED_DB / 10)
    )
    return scale_invariant_ratio_db(got[survived], true[survived], clamp_db=SURVIVED_DB)


def stereo_image_change(
    estimate: np.ndarray, reference: np.ndarray, *, untreated: np.ndarray, sample_rate: int
) -> float:
    """Largest change, in dB, of the level of side against mid in any third octave. 0 is best.

    Against the *untreated* signal, since a system is to leave the image as it came. Bands of IEC
    61260 (base ten), 25 Hz to 20 kHz; energy in one transform of the whole wave. Only those count
    in which mid and side of the untreated signal lie within 60 dB of its loudest band. 0 where
    there are not two channels, or no image; 100 where the estimate lost its mid or side in one.

    Args:
        estimate: What a system made of ``untreated``, or ``untreated`` itself.
        reference: The lossless original; only its shape is used.
        untreated: The lossy signal before enhancement.
        sample_rate: In Hz.
    """
    estimate, reference = check_pair(estimate, reference)
    untreated, _ = check_pair(untreated, reference)
    if reference.shape[0] != 2:
        return 0.0
    after, before = (_mid_side_bands(wave, sample_rate) for wave in (estimate, untreated))
    floor = before.max() * 10 ** (-IMAGE_RANGE_DB / 10)
    counted = before.min(axis=0) > floor
    if not counted.any():
        return 0.0
    after, before = after[:, counted], before[:, counted]
    if (after <= floor * 10 ** (-IMAGE_RANGE_DB / 10)).any():
        return CLAMP_DB
    change_db = 10 * np.log10(after[1] / after[0]) - 10 * np.log10(before[1] / before[0])
    return float(np.abs(change_db).max())


def _mid_side_bands(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Energy of mid and side in third octaves, (2, bands)."""
    left, right = wave.astype(np.float64)
    power = np.abs(scipy.fft.rfft(np.stack([left + right, left - right]))) ** 2
    edges_hz = 1000 * 10 ** ((np.arange(-16, 15) - 0.5) / 10)
    bins = np.searchsorted(scipy.fft.rfftfreq(wave.shape[1], 1 / sample_rate), edges_hz)
    below = np.pad(np.cumsum(power, axis=1), ((0, 0), (1, 0)))
    return np.diff(below[:, bins], axis=1)


# --- what was emptied ------------------------------------------------------------------------


def band_energy_error(
    estimate: np.ndarray, reference: np.ndarray, *, untreated: np.ndarray
) -> float:
    """Mean absolute error, in dB, of the energies of the bands that the degradation emptied.

    A band is eight neighbouring bins of one frame (1024 samples, hop 512, square root of a Hann
    window; Nyquist is in none), 344 Hz by 12 ms at 44.1 kHz. It was emptied if its energy in
    ``untreated`` lies more than 10 dB under that in ``reference``, and the latter not more than 80
    dB under the loudest of ``reference``; there, energies count as no less. 0 where nothing was
    emptied. Level alone: a noise of the right energies is perfect.

    Args:
        estimate: What a system made of ``untreated``, or ``untreated`` itself.
        reference: The lossless original.
        untreated: The lossy signal before enhancement.
    """
    return _mean(np.abs(_emptied_errors_db(estimate, reference, untreated)))


def band_energy_bias(
    estimate: np.ndarray, reference: np.ndarray, *, untreated: np.ndarray
) -> float:
    """Mean signed error, in dB, of the bands of :func:`band_energy_error`; 0 is best.

    Negative where what was lost comes back too weak. Arguments as there.
    """
    return _mean(_emptied_errors_db(estimate, reference, untreated))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else 0.0


def _emptied_errors_db(
    estimate: np.ndarray, reference: np.ndarray, untreated: np.ndarray
) -> np.ndarray:
    """Estimated against true level of each emptied band, in dB, in a row."""
    estimate, reference = check_pair(estimate, reference)
    untreated, _ = check_pair(untreated, reference)
    true, lossy = _band_energies(reference), _band_energies(untreated)
    floor = true.max() * 10 ** (-BAND_RANGE_DB / 10)
    emptied = (lossy < true * 10 ** (-EMPTIED_DB / 10)) & (true > floor)
    if not emptied.any():
        return np.zeros(0)
    got = np.maximum(_band_energies(estimate)[emptied], floor)
    return 10 * np.log10(got / true[emptied])


def _band_energies(wave: np.ndarray) -> np.ndarray:
    """(channels, frames, bands); frames are centred on multiples of the hop."""
    half = BAND_FRAME // 2
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(BAND_FRAME) / BAND_FRAME))
    padded = np.pad(wave.astype(np.float64), ((0, 0), (half, half)))
    frames = sliding_window_view(padded, BAND_FRAME, axis=-1)[:, ::half]
    spectrum = scipy.fft.rfft(frames * window, axis=-1)[..., :half]
    power = spectrum.real**2 + spectrum.imag**2
    return power.reshape(*power.shape[:2], -1, BAND_BINS).sum(axis=-1)


# --- features --------------------------------------------------------------------------------


def mfcc_distance(estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int) -> float:
    """Relative distance of 13 mel-frequency cepstral coefficients, ``‖M - M̂‖F / ‖M‖F``."""
    import librosa

    coefficients = []
    for content in _contents(estimate, reference):
        mel = librosa.feature.melspectrogram(S=_power(content), sr=sample_rate)
        coefficients.append(librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=13))
    got, true = coefficients
    return ratio(np.linalg.norm(got - true), np.linalg.norm(true))


def chroma_distance(estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int) -> float:
    """Mean absolute difference of the 12 pitch-class energies, each frame's largest being 1."""
    estimate, reference = (
        _chroma(content, sample_rate) for content in _contents(estimate, reference)
    )
    return float(np.mean(np.abs(estimate - reference)))


def tonnetz_distance(estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int) -> float:
    """Mean Euclidean distance, per frame, of the 6 tonal centroids (Harte et al. 2006)."""
    import librosa

    estimate, reference = (
        librosa.feature.tonnetz(chroma=_chroma(content, sample_rate), sr=sample_rate)
        for content in _contents(estimate, reference)
    )
    return float(np.mean(np.linalg.norm(estimate - reference, axis=-2)))


def spectral_centroid_distance(
    estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int
) -> float:
    """Mean absolute difference, per frame, of the spectra's centres of gravity, in Hz."""
    import librosa

    estimate, reference = (
        librosa.feature.spectral_centroid(S=_magnitude(content), sr=sample_rate)
        for content in _contents(estimate, reference)
    )
    return float(np.mean(np.abs(estimate - reference)))


def spectral_rolloff_distance(
    estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int
) -> float:
    """Mean absolute difference, per frame, of the frequency under which 85 % of it lies, in Hz."""
    import librosa

    estimate, reference = (
        librosa.feature.spectral_rolloff(S=_magnitude(content), sr=sample_rate, roll_percent=0.85)
        for content in _contents(estimate, reference)
    )
    return float(np.mean(np.abs(estimate - reference)))
