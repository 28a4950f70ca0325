"""Distances between two signals seen through the short-time Fourier transform.

Every function takes ``(estimate, reference)``, two waves of one shape ``(channels, samples)`` in
[-1, 1], and returns one number. Unless a docstring says otherwise, lower is better, and the
transform has a 2048-sample periodic Hann window and hops of 512, is centred and sees zeros beyond
the ends (librosa's defaults). Two-channel signals give the mean over channels, or the norm over all
of them where a formula is a ratio of norms.

Instead of a wave each takes its :class:`~enhancelib.evaluate.metrics.transforms.Spectra`, so that
several share one transform. All raise :class:`~enhancelib.errors.InputError` for a wave that is
empty, holds NaN or infinity, or differs in shape from the other.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import scipy.fft

from enhancelib.audio.masking import SURVIVAL
from enhancelib.evaluate.metrics.transforms import SHARED, Frames, Spectra
from enhancelib.evaluate.metrics.waveform import CLAMP_DB, level_ratio_db, ratio

Signal = np.ndarray | Spectra
POWER_FLOOR = 1e-8
"""Power under which the log-spectral distances see silence."""
SURVIVED_DB = 60.0
"""Bins this far under the loudest one are left out of the phase and in-band measures."""
SPLIT_HZ = 8000.0
"""Where the high band of :func:`log_spectral_distance_hf` begins."""
IMAGE_RANGE_DB = 60.0
"""Third octaves whose mid or side lies further under the loudest one have no image to change."""
RESOLUTIONS = (Frames(1024, 120, 600), Frames(2048, 240, 1200), Frames(512, 50, 240))
"""The transforms of :func:`multi_resolution_stft_distance`."""
BAND_FRAMES, BAND_BINS = Frames(1024, 512, 1024, exponent=0.5), 8
"""Frames, and bins of each band, of the measures of what was emptied."""
EMPTIED_DB, BAND_RANGE_DB = 10.0, 80.0
"""A band was emptied if it lies so far under the reference's; those of the reference that lie
further than the second under its loudest one are not looked at."""


# --- sums over blocks ------------------------------------------------------------------------


def _mean(parts: Iterable[np.ndarray]) -> float:
    """Mean of all values of all parts; 0 of none."""
    total, count = 0.0, 0
    for part in parts:
        total += float(part.sum(dtype=np.float64))
        count += part.size
    return total / count if count else 0.0


def _relative_error(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """``‖x̂ - x‖ / ‖x‖`` over all pairs of blocks."""
    error, signal = 0.0, 0.0
    for got, true in pairs:
        error += float(np.sum((got - true) ** 2, dtype=np.float64))
        signal += float(np.sum(true**2, dtype=np.float64))
    return ratio(error**0.5, signal**0.5)


def _power(spectrum: np.ndarray) -> np.ndarray:
    return np.maximum(spectrum.real**2 + spectrum.imag**2, POWER_FLOOR)


def _both(
    pair: tuple[Spectra, Spectra], look: Callable[[Spectra], Iterable[np.ndarray]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of estimate and reference side by side."""
    return zip(*map(look, pair), strict=True)


# --- magnitude and phase ---------------------------------------------------------------------


def magnitude_distance(estimate: Signal, reference: Signal) -> float:
    """Mean absolute difference of the magnitude spectra, ``mean | |X| - |X̂| |``. Symmetric."""
    pairs = _both(Spectra.pair(estimate, reference), Spectra.magnitudes)
    return _mean(np.abs(got - true) for got, true in pairs)


def phase_distance(estimate: Signal, reference: Signal) -> float:
    """Mean absolute phase difference in radians, 0 to π, weighted by the reference's magnitude.

    Bins more than 60 dB under the reference's loudest are left out. A bin the estimate leaves empty
    has no phase and counts π/2, the mean for a random one. 0 for a silent reference.
    """
    pair = Spectra.pair(estimate, reference)
    floor = pair[1].peak() * 10 ** (-SURVIVED_DB / 20)
    total, weights = 0.0, 0.0
    for got, true in _both(pair, Spectra.blocks):
        weight = np.abs(true)
        difference = np.abs(np.angle(got * true.conj()))
        difference[got == 0] = np.pi / 2
        heard = weight > floor
        total += float(np.sum((weight * difference)[heard], dtype=np.float64))
        weights += float(np.sum(weight[heard], dtype=np.float64))
    return ratio(total, weights)


def spectral_convergence(estimate: Signal, reference: Signal) -> float:
    """Relative error of the magnitude spectra, ``‖|X̂| - |X|‖ / ‖|X|‖`` (Arık et al. 2019)."""
    return _relative_error(_both(Spectra.pair(estimate, reference), Spectra.magnitudes))


def multi_resolution_stft_distance(estimate: Signal, reference: Signal) -> float:
    """Spectral convergence plus mean log-magnitude error (nepers), mean of three resolutions.

    Yamamoto et al. 2020 (Parallel WaveGAN), their windows; powers under 1e-8 count as 1e-8.
    """
    pair = Spectra.pair(estimate, reference)

    def powers(frames: Frames) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for got, true in _both(pair, lambda spectra: spectra.blocks(frames)):
            yield _power(got), _power(true)

    total = 0.0
    for frames in RESOLUTIONS:
        total += 0.5 * _mean(np.abs(np.log(got / true)) for got, true in powers(frames))
        total += _relative_error((np.sqrt(got), np.sqrt(true)) for got, true in powers(frames))
    return total / len(RESOLUTIONS)


# --- log-spectral distance -------------------------------------------------------------------


def _lsd(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """``mean_t sqrt(mean_f (difference of log10 powers)²)`` of blocks (channels, bins, frames)."""
    return _mean(np.sqrt(np.mean((got - true) ** 2, axis=1)) for got, true in pairs)


def log_spectral_distance(estimate: Signal, reference: Signal) -> float:
    """Log-spectral distance in bels, as AERO, NU-Wave 2 and AP-BWE compute it. Symmetric.

    ``mean_t sqrt(mean_f (log10 max(|X|², 1e-8) - log10 max(|X̂|², 1e-8))²)``. Bands that are nearly
    empty in both weigh as much as loud ones: read it beside the relative and the split forms.
    """
    return _lsd(_log_powers(estimate, reference, POWER_FLOOR))


def log_spectral_distance_relative(estimate: Signal, reference: Signal) -> float:
    """Log-spectral distance in bels with the floor 80 dB under the reference's loudest bin.

    Blind to what lies under the floor, and so to the level of the recording.
    """
    estimate, reference = Spectra.pair(estimate, reference)
    return _lsd(_log_powers(estimate, reference, POWER_FLOOR * (reference.peak() ** 2 or 1.0)))


def _log_powers(
    estimate: Signal, reference: Signal, floor: float, bins: slice = slice(None)
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    pairs = _both(Spectra.pair(estimate, reference), lambda each: each.log_powers(floor))
    return ((got[:, bins], true[:, bins]) for got, true in pairs)


def _split_bin(sample_rate: int) -> int:
    """First bin of the high band: 8 kHz, or half the spectrum where the rate is under 32 kHz."""
    return round(min(SPLIT_HZ, sample_rate / 4) * SHARED.n_fft / sample_rate)


def log_spectral_distance_hf(estimate: Signal, reference: Signal, *, sample_rate: int) -> float:
    """Log-spectral distance in bels of the band from 8 kHz up (upper half under 32 kHz rates)."""
    high = slice(_split_bin(sample_rate), None)
    return _lsd(_log_powers(estimate, reference, POWER_FLOOR, high))


def log_spectral_distance_lf(estimate: Signal, reference: Signal, *, sample_rate: int) -> float:
    """Log-spectral distance in bels of the band under 8 kHz (lower half under 32 kHz rates)."""
    low = slice(_split_bin(sample_rate))
    return _lsd(_log_powers(estimate, reference, POWER_FLOOR, low))


def treble_level_difference(estimate: Signal, reference: Signal, *, sample_rate: int) -> float:
    """Level of the estimate's band from 8 kHz up over the reference's in dB; 0 is best.

    Negative where the treble is too weak, positive where there is too much of it. Energies of all
    frames are added, so loud moments count most; what lies under :data:`POWER_FLOOR` counts as
    silence, and silence over silence is 0. The band is the upper half under 32 kHz rates.
    """
    high = slice(_split_bin(sample_rate), None)
    got, true = (
        sum(
            float(np.maximum(power[:, high], POWER_FLOOR).sum(dtype=np.float64))
            for power in spectra.powers()
        )
        for spectra in Spectra.pair(estimate, reference)
    )
    return float(10 * np.log10(got / true))


# --- what survived ---------------------------------------------------------------------------


def in_band_si_sdr(estimate: Signal, reference: Signal, *, untreated: Signal) -> float:
    """Scale-invariant SDR in dB over the bins that survived the degradation. Higher is better.

    The "no harm" measure. With X the reference and Y the untreated lossy signal, a bin survived if
    ``|X - Y|² < 0.9 |X|²`` (:data:`enhancelib.audio.masking.SURVIVAL`) and ``|X|²`` lies within 60
    dB of its maximum: one mask, whatever the system. A bin that was emptied did not survive, so
    what is invented there costs nothing. Errors more than 60 dB under the signal count as none, so
    the range is -100 to 60; it is 60 where nothing survived that could be harmed.

    Args:
        estimate: what a system made of ``untreated``, or ``untreated`` itself.
        reference: the lossless original.
        untreated: the lossy signal before enhancement.
    """
    estimate, reference = Spectra.pair(estimate, reference)
    untreated, _ = Spectra.pair(untreated, reference)
    floor = (reference.peak() ** 2) * 10 ** (-SURVIVED_DB / 10)

    def survived() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for got, true, lossy in zip(
            estimate.blocks(), reference.blocks(), untreated.blocks(), strict=True
        ):
            power = np.abs(true) ** 2
            kept = (np.abs(true - lossy) ** 2 < SURVIVAL * power) & (power >= floor)
            yield got[kept].astype(np.complex128), true[kept].astype(np.complex128)

    overlap = energy = error = 0.0
    same = True
    for got, true in survived():
        overlap += float(np.vdot(true, got).real)
        energy += float(np.vdot(true, true).real)
        same &= np.array_equal(got, true)
    if same:
        return SURVIVED_DB
    if overlap == 0:
        return -CLAMP_DB
    gain = overlap / energy
    for got, true in survived():
        error += float(np.sum(np.abs(got - gain * true) ** 2))
    return level_ratio_db(abs(gain) * energy**0.5, error**0.5, clamp_db=SURVIVED_DB)


def stereo_image_change(
    estimate: Signal, reference: Signal, *, untreated: Signal, sample_rate: int
) -> float:
    """Largest change, in dB, of the level of side against mid in any third octave. 0 is best.

    Against the *untreated* signal, since a system is to leave the image as it came. Bands of IEC
    61260 (base ten), 25 Hz to 20 kHz; energy in one transform of the whole wave. Only those count
    in which mid and side of the untreated signal lie within 60 dB of its loudest band. 0 where
    there are not two channels, or no image; 100 where the estimate lost its mid or side in one.

    Args:
        estimate: what a system made of ``untreated``, or ``untreated`` itself.
        reference: the lossless original; only its shape is used.
        untreated: the lossy signal before enhancement.
        sample_rate: in Hz.
    """
    estimate, reference = Spectra.pair(estimate, reference)
    untreated, _ = Spectra.pair(untreated, reference)
    if reference.wave.shape[0] != 2:
        return 0.0
    after, before = (_mid_side_bands(each.wave, sample_rate) for each in (estimate, untreated))
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
    edges_hz = 1000 * 10 ** ((np.arange(-16, 15) - 0.5) / 10)
    bins = np.searchsorted(scipy.fft.rfftfreq(wave.shape[1], 1 / sample_rate), edges_hz)
    bands = []
    for sign in (1, -1):  # one at a time, since each is as long as the song
        spectrum = scipy.fft.rfft(wave[0] + np.float64(sign) * wave[1])
        below = np.concatenate([[0], np.cumsum(spectrum.real**2 + spectrum.imag**2)])
        bands.append(np.diff(below[bins]))
    return np.stack(bands)


# --- what was emptied ------------------------------------------------------------------------


def band_energy_error(estimate: Signal, reference: Signal, *, untreated: Signal) -> float:
    """Mean absolute error, in dB, of the energies of the bands that the degradation emptied.

    A band is eight neighbouring bins of one frame (1024 samples, hop 512, square root of a Hann
    window; Nyquist is in none), 344 Hz by 12 ms at 44.1 kHz. It was emptied if its energy in
    ``untreated`` lies more than 10 dB under that in ``reference``, and the latter not more than 80
    dB under the loudest of ``reference``; there, energies count as no less. 0 where nothing was
    emptied. Level alone: a noise of the right energies is perfect.

    Args:
        estimate: what a system made of ``untreated``, or ``untreated`` itself.
        reference: the lossless original.
        untreated: the lossy signal before enhancement.
    """
    return _mean([np.abs(_emptied_errors_db(estimate, reference, untreated))])


def band_energy_bias(estimate: Signal, reference: Signal, *, untreated: Signal) -> float:
    """Mean signed error, in dB, of the bands of :func:`band_energy_error`; 0 is best.

    Negative where what was lost comes back too weak. Arguments as there.
    """
    return _mean([_emptied_errors_db(estimate, reference, untreated)])


def _emptied_errors_db(estimate: Signal, reference: Signal, untreated: Signal) -> np.ndarray:
    """Estimated against true level of each emptied band, in dB, in a row."""
    estimate, reference = Spectra.pair(estimate, reference)
    untreated, _ = Spectra.pair(untreated, reference)
    true, lossy = _band_energies(reference), _band_energies(untreated)
    floor = true.max() * 10 ** (-BAND_RANGE_DB / 10)
    emptied = (lossy < true * 10 ** (-EMPTIED_DB / 10)) & (true > floor)
    if not emptied.any():
        return np.zeros(0)
    got = np.maximum(_band_energies(estimate)[emptied], floor)
    return 10 * np.log10(got / true[emptied])


def _band_energies(spectra: Spectra) -> np.ndarray:
    """(channels, bands, frames)."""
    energies = []
    for block in spectra.blocks(BAND_FRAMES):
        power = block[:, :-1].real ** 2 + block[:, :-1].imag ** 2  # without Nyquist
        channels, bins, frames = power.shape
        banded = power.reshape(channels, bins // BAND_BINS, BAND_BINS, frames)
        energies.append(banded.sum(axis=2, dtype=np.float64))
    return np.concatenate(energies, axis=-1)


# --- features --------------------------------------------------------------------------------


def mfcc_distance(estimate: Signal, reference: Signal, *, sample_rate: int) -> float:
    """Relative distance of 13 mel-frequency cepstral coefficients, ``‖M - M̂‖F / ‖M‖F``."""
    import librosa

    def mel(power: np.ndarray) -> np.ndarray:
        return librosa.feature.melspectrogram(S=power, sr=sample_rate)

    coefficients = []
    for spectra in Spectra.pair(estimate, reference):
        level_db = librosa.power_to_db(spectra.features(f"mel {sample_rate}", mel))
        coefficients.append(librosa.feature.mfcc(S=level_db, n_mfcc=13))
    return _relative_error([tuple(coefficients)])


def _chroma(spectra: Spectra, sample_rate: int) -> np.ndarray:
    import librosa

    options = {"sr": sample_rate, "n_fft": SHARED.n_fft, "tuning": 0.0}
    return spectra.features(
        f"chroma {sample_rate}", lambda power: librosa.feature.chroma_stft(S=power, **options)
    )


def chroma_distance(estimate: Signal, reference: Signal, *, sample_rate: int) -> float:
    """Mean absolute difference of the 12 pitch-class energies, each frame's largest being 1."""
    pair = (_chroma(each, sample_rate) for each in Spectra.pair(estimate, reference))
    return _mean([np.abs(np.subtract(*pair))])


def tonnetz_distance(estimate: Signal, reference: Signal, *, sample_rate: int) -> float:
    """Mean Euclidean distance, per frame, of the 6 tonal centroids (Harte et al. 2006)."""
    import librosa

    pair = (
        librosa.feature.tonnetz(chroma=_chroma(each, sample_rate), sr=sample_rate)
        for each in Spectra.pair(estimate, reference)
    )
    return _mean([np.linalg.norm(np.subtract(*pair), axis=-2)])


def spectral_centroid_distance(estimate: Signal, reference: Signal, *, sample_rate: int) -> float:
    """Mean absolute difference, per frame, of the spectra's centres of gravity, in Hz."""
    import librosa

    def centroids(magnitude: np.ndarray) -> np.ndarray:
        return librosa.feature.spectral_centroid(S=magnitude, sr=sample_rate)

    return _frame_distance(estimate, reference, centroids)


def spectral_rolloff_distance(estimate: Signal, reference: Signal, *, sample_rate: int) -> float:
    """Mean absolute difference, per frame, of the frequency under which 85 % of it lies, in Hz."""
    import librosa

    def rolloffs(magnitude: np.ndarray) -> np.ndarray:
        return librosa.feature.spectral_rolloff(S=magnitude, sr=sample_rate, roll_percent=0.85)

    return _frame_distance(estimate, reference, rolloffs)


def _frame_distance(
    estimate: Signal, reference: Signal, feature: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Mean absolute difference of a feature of blocks of magnitudes."""
    pairs = _both(Spectra.pair(estimate, reference), Spectra.magnitudes)
    return _mean(np.abs(feature(got) - feature(true)) for got, true in pairs)
