"""Enhance what one sound device hears and play it on another, while it happens.

PortAudio, through sounddevice, calls for every block of samples. The model works behind
:meth:`RealTimeAudioEnhancer.start_processing`, so that no call waits for it: what is not ready in
time is passed through, cross-faded, and counted. Latency::

    both devices      their buffers, as PortAudio states them
  + frame_length - 1  of the model
  + queue_delay       how far the model may lag behind
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Self

import numpy as np

from enhancelib.audio import Wave
from enhancelib.backends import Backend, PathLike, quiet_runtime
from enhancelib.errors import ConfigError, EnhanceError, InputError
from enhancelib.streaming import RealTimeAudioEnhancer

_MOST_CHANNELS = 2


@dataclass(frozen=True)
class LiveStatus:
    """What happened since the stream began.

    Attributes:
        seconds: of audio played.
        input_dbfs: largest sample heard since the last status, in dB below full scale.
        output_dbfs: largest sample played since the last status.
        device_ms: delay of both devices, as PortAudio states it.
        latency_ms: delay of all: the devices, the model and its queue.
        load: seconds of work per second of audio; 1 means this machine cannot keep up.
        late_chunks: blocks of which a part was passed through, since the model was late.
        dropouts: blocks before which a device ran dry or over: sound was lost.
        failure: what the model's runtime raised, or nothing; what follows is passed through.
    """

    seconds: float
    input_dbfs: float
    output_dbfs: float
    device_ms: float
    latency_ms: float
    load: float
    late_chunks: int
    dropouts: int
    failure: str


class LiveEnhancer:
    """Enhance from an input device to an output device, inside a ``with`` block.

    ``live.enhancer.bypass`` and ``live.enhancer.wet`` may be set while it runs.

    Args:
        model_path: as in :class:`RealTimeAudioEnhancer`; ``None`` takes the default model.
        model_type: as there.
        input_device: number or part of a name from :func:`sound_devices`; ``None``: the default.
        output_device: as ``input_device``.
        block_size: samples per call, at the model's rate.
        queue_delay_samples: how far the model may lag; ``None``: two blocks, at least 1024.
        wet: share of the enhanced signal in the output, 0 to 1.
        threads: of the model's runtime; ``None`` as in :class:`RealTimeAudioEnhancer`.

    Raises:
        ConfigError: PortAudio is not installed, or ``block_size`` is impossible.
        InputError: no such device, or it cannot be opened at the model's rate.
        ModelError: the model cannot be opened or cannot stream.
    """

    def __init__(
        self,
        model_path: PathLike | Backend | None = None,
        model_type: str | None = None,
        *,
        input_device: int | str | None = None,
        output_device: int | str | None = None,
        block_size: int = 512,
        queue_delay_samples: int | None = None,
        wet: float = 1.0,
        threads: int | None = None,
    ):
        if not 1 <= block_size <= 1 << 16:
            raise ConfigError(f"block_size: {block_size} is not between 1 and 65536 samples")
        self._devices = (input_device, output_device)
        self._block_size = block_size
        self.enhancer = RealTimeAudioEnhancer(
            model_path,
            model_type,
            wet=wet,
            queue_delay_samples=queue_delay_samples or max(1024, 2 * block_size),
            max_wait_s=0.0,
            threads=threads,
        )
        self._stream = None
        self._dropouts = 0
        self._peaks = [0.0, 0.0]

    def __enter__(self) -> Self:
        sound = _sounddevice()
        rate = self.enhancer.sample_rate
        kinds = ("input", "output")
        chosen = [_choose(sound, *both) for both in zip(self._devices, kinds, strict=True)]
        channels = [
            min(_MOST_CHANNELS, facts[f"max_{kind}_channels"])
            for facts, kind in zip(chosen, kinds, strict=True)
        ]
        self.enhancer.start_processing()
        try:
            with quiet_runtime():
                self._stream = sound.Stream(
                    samplerate=rate,
                    blocksize=self._block_size,
                    device=[facts["index"] for facts in chosen],
                    channels=channels,
                    dtype="float32",
                    latency="low",
                    callback=self._play,
                )
                self._stream.start()
        except sound.PortAudioError as error:
            self._close()
            names = " to ".join(repr(facts["name"]) for facts in chosen)
            raise InputError(
                f"{names}: cannot be opened at {rate} Hz ({_reason(error)}); close other programs "
                "that hold it, or choose a device that converts, such as 'default'"
            ) from None
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    @property
    def status(self) -> LiveStatus:
        """See :class:`LiveStatus`.

        Raises:
            EnhanceError: the devices stopped, as one does that is unplugged.
        """
        if self._stream is None or not self._stream.active:
            raise EnhanceError("the sound devices stopped; connect them and start again")
        rate, counters = self.enhancer.sample_rate, self.enhancer.counters
        device_ms = 1000 * sum(self._stream.latency)
        peaks, self._peaks = self._peaks, [0.0, 0.0]
        return LiveStatus(
            seconds=counters.samples / rate,
            input_dbfs=_dbfs(peaks[0]),
            output_dbfs=_dbfs(peaks[1]),
            device_ms=device_ms,
            latency_ms=device_ms + 1000 * self.enhancer.latency_samples / rate,
            load=counters.load,
            late_chunks=counters.late_chunks,
            dropouts=self._dropouts,
            failure=counters.failure,
        )

    def _play(self, heard: np.ndarray, played: np.ndarray, frames: int, time, flags) -> None:
        """Take one block (samples, channels) and fill the other; called by PortAudio's thread."""
        del frames, time
        self._dropouts += bool(flags)
        wave = np.nan_to_num(heard.T)
        enhanced = _as_channels(self.enhancer.process_audio_chunk(wave), played.shape[1])
        played[:] = enhanced.T
        largest = (float(np.abs(wave).max()), float(np.abs(enhanced).max()))
        self._peaks = [max(pair) for pair in zip(self._peaks, largest, strict=True)]

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()
            stream.close()
        self.enhancer.stop_processing()


def sound_devices() -> str:
    """Return the sound devices of this machine, a line each: number, name, system, channels.

    ``>`` marks the input, ``<`` the output that is taken where none is named, ``*`` one for both.

    Raises:
        ConfigError: PortAudio is not installed.
        InputError: there is no sound device.
    """
    devices = _sounddevice().query_devices()
    if not devices:
        raise InputError("this machine has no sound device; connect one")
    return str(devices)


def _sounddevice() -> ModuleType:
    """The module, with PortAudio started."""
    try:
        with quiet_runtime():  # ALSA tells standard error which of its devices are not there
            import sounddevice
    except ModuleNotFoundError as error:
        raise ConfigError(f"sound devices: pip install {error.name}") from None
    except OSError:
        raise ConfigError(
            "sound devices: PortAudio is not installed; apt install libportaudio2"
        ) from None
    return sounddevice


def _choose(sound: ModuleType, device: int | str | None, kind: str) -> dict:
    """Facts of a device for ``"input"`` or ``"output"``."""
    try:
        return sound.query_devices(device, kind)
    except (ValueError, sound.PortAudioError) as error:
        if device is None:
            raise InputError(f"{kind}_device: this machine has none; connect one") from None
        raise InputError(
            f"{kind}_device: {_reason(error)}; `enhancelib live --list` shows what there is"
        ) from None


def _as_channels(wave: Wave, channels: int) -> Wave:
    """Give a wave of one or two channels this number of them: repeat one, or mix two."""
    if wave.shape[0] > channels:
        return wave.mean(axis=0, keepdims=True)
    return np.broadcast_to(wave, (channels, wave.shape[1]))


def _dbfs(peak: float) -> float:
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def _reason(error: Exception) -> str:
    """The first line of what PortAudio says, without its numbers."""
    return str(error).splitlines()[0].partition(" [")[0].rstrip(".:")
