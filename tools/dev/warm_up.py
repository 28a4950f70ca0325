"""Compile the numba functions of librosa and ViSQOL into their caches once, in one process."""

import librosa
import numpy as np

import enhancelib as el

SAMPLE_RATE = 22050
tone = np.sin(2 * np.pi * 440 * np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
for feature in ("mfcc", "chroma_stft", "tonnetz", "spectral_centroid", "spectral_rolloff"):
    getattr(librosa.feature, feature)(y=tone, sr=SAMPLE_RATE)
librosa.effects.time_stretch(tone, rate=1.1)
librosa.effects.pitch_shift(tone, sr=SAMPLE_RATE, n_steps=1)
el.score(0.5 * tone[None], tone[None], sample_rate=SAMPLE_RATE, names=["visqol", "mfcc_distance"])
print("librosa and ViSQOL are warm")
