"""Enhance what one sound device hears and play it on another, while it happens.

One thread reads a block from the input device and writes one to the output device (PortAudio,
through sounddevice); whichever device is not ready makes it wait. The model works in a second
thread, behind :meth:`RealTimeAudioEnhancer.start_processing`: what is not ready in time is passed
through, cross-faded, and counted. Latency::

    both devices      their buffers, as PortAudio states them
  + frame_length - 1  of the model
  + queue_delay       how far the model may lag behind
  + the limiter's     1.9 ms: what is played never passes full scale
  (:mod:`enhancelib.audio.limiter`)
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Self

import numpy as np

from enhancelib.audio.limiter import TruePeakLimiter
from enhancelib.audio.waves import Wave
from enhancelib.checks import check_number
from enhancelib.enhance.backends import Backend, PathLike
from enhancelib.enhance.modelfiles import as_backend, open_stream
from enhancelib.enhance.streaming import RealTimeAudioEnhancer
from enhancelib.errors import ConfigError, EnhanceError, InputError, installs

_MOST_CHANNELS = 2
_STOP_TIMEOUT_S = 2.0
_STUCK_S = 5.0  # some devices that are gone make their readers wait forever


@dataclass(frozen=True)
class LiveStatus:
    """What happened since the stream began.

    Attributes:
        seconds: of audio played.
        input_dbfs: largest sample heard since the last status, in dB below full scale.
        output_dbfs: largest sample played since the last status.
        device_ms: delay of both devices, as PortAudio states it.
        latency_ms: delay of all: the devices, the model and its queue, the limiter.
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

    ``live.enhancer.bypass`` and ``live.enhancer.amount`` may be set while it runs.

    Args:
        model_path: as in :class:`RealTimeAudioEnhancer`; ``None`` takes the default model.
        model_type: as there.
        input_device: number or part of a name from :func:`sound_devices`; ``None``: the default.
        output_device: as ``input_device``.
        block_size: samples per call, at the model's rate.
        queue_delay_samples: how far the model may lag; ``None``: two blocks, at least 1024.
        device_latency_ms: to ask each device for: the larger, the fewer drop-outs.
        amount: of the enhancement, 0 to 1.
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
        device_latency_ms: float = 100.0,
        amount: float = 1.0,
        threads: int | None = None,
    ):
        self._devices = (input_device, output_device)
        self._block_size = block_size = check_number(
            block_size, "block_size", low=1, high=1 << 16, whole=True, error=ConfigError
        )
        self._device_latency_s = (
            check_number(device_latency_ms, "device_latency", low=1, high=10_000, error=ConfigError)
            / 1000
        )
        if model_path is None or isinstance(model_path, PathLike):
            model_path = open_stream(model_path, model_type, threads=threads)
        backend = as_backend(model_path)
        self.enhancer = RealTimeAudioEnhancer(
            backend,
            amount=amount,
            queue_delay_samples=(
                max(1024, 2 * block_size) if queue_delay_samples is None else queue_delay_samples
            ),
            # Half a block: a slow model makes no gap.
            max_wait_s=block_size / 2 / backend.metadata.sample_rate,
        )
        self._limiter: TruePeakLimiter | None = None  # for the channels that are played
        self._streams: list = []
        self._thread = threading.Thread(target=self._loop, name="enhancelib-live", daemon=True)
        self._running = True
        self._stopped = ""
        self._last_block = time.monotonic()
        self._dropouts = 0
        self._peaks = [0.0, 0.0]

    def __enter__(self) -> Self:
        sound = _sounddevice()
        kinds = ("input", "output")
        chosen = [_choose(sound, *both) for both in zip(self._devices, kinds, strict=True)]
        channels = [
            min(_MOST_CHANNELS, facts[f"max_{kind}_channels"])
            for facts, kind in zip(chosen, kinds, strict=True)
        ]
        rate = self.enhancer.sample_rate
        self._limiter = TruePeakLimiter(channels[1], sample_rate=rate)
        self.enhancer.start_processing()
        try:
            for kind, facts, count in zip(kinds, chosen, channels, strict=True):
                self._open(sound, kind, facts, count)
            self._last_block = time.monotonic()
            self._thread.start()
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
        stuck = time.monotonic() - self._last_block > _STUCK_S
        if stuck or not self._thread.is_alive():
            raise EnhanceError(f"the sound devices stopped; start again{self._stopped}")
        rate, counters = self.enhancer.sample_rate, self.enhancer.counters
        device_ms = 1000 * sum(stream.latency for stream in self._streams)
        peaks, self._peaks = self._peaks, [0.0, 0.0]
        return LiveStatus(
            seconds=counters.samples / rate,
            input_dbfs=_dbfs(peaks[0]),
            output_dbfs=_dbfs(peaks[1]),
            device_ms=device_ms,
            latency_ms=device_ms + 1000 * self._delay_samples / rate,
            load=counters.load,
            late_chunks=counters.late_chunks,
            dropouts=self._dropouts,
            failure=counters.failure,
        )

    @property
    def _delay_samples(self) -> int:
        assert self._limiter is not None  # the devices are open
        return self.enhancer.latency_samples + self._limiter.latency_samples

    def _open(self, sound: ModuleType, kind: str, facts: dict, channels: int) -> None:
        """Open the ``"input"`` or the ``"output"`` stream of a device."""
        rate = self.enhancer.sample_rate
        make = {"input": sound.InputStream, "output": sound.OutputStream}[kind]
        try:
            with _quiet_alsa():
                stream = make(
                    device=facts["index"],
                    channels=channels,
                    samplerate=rate,
                    blocksize=self._block_size,
                    dtype="float32",
                    latency=self._device_latency_s,
                )
        except sound.PortAudioError as error:
            raise InputError(
                f"{facts['name']}: cannot be opened for {kind} at {rate} Hz ({_reason(error)}); "
                "close other programs that hold it, or choose a device that converts, such as "
                "'default'"
            ) from None
        self._streams.append(stream)

    def _loop(self) -> None:
        """Carry block after block from the input to the output, in a thread of its own."""
        source, sink = self._streams
        try:
            source.start()
            heard, _ = source.read(self._block_size)
            sink.start()  # not before there is something to play
            dry = True
            while self._running:
                played = self._process(heard.T, sink.channels)
                if dry:  # silence ahead, for blocks that come late and in bursts
                    silence = max(0, sink.write_available - self._block_size)
                    sink.write(np.zeros((silence, sink.channels), np.float32))
                dry = sink.write(np.ascontiguousarray(played.T))
                heard, overflow = source.read(self._block_size)
                self._dropouts += dry + overflow
        except Exception as error:  # PortAudio's, when a device is gone
            self._stopped = f" ({_reason(error)})"

    def _process(self, heard: Wave, channels: int) -> Wave:
        self._last_block = time.monotonic()
        wave = np.nan_to_num(heard)
        enhanced = _as_channels(self.enhancer.process_audio_chunk(wave), channels)
        assert self._limiter is not None  # the devices are open
        enhanced = self._limiter.process(enhanced)
        largest = (float(np.abs(wave).max()), float(np.abs(enhanced).max()))
        self._peaks = [max(pair) for pair in zip(self._peaks, largest, strict=True)]
        return enhanced

    def _close(self) -> None:
        self._running = False
        if self._thread.is_alive():
            self._thread.join(timeout=_STOP_TIMEOUT_S)
        if self._stopped or self._thread.is_alive():  # to close what is gone may wait forever,
            atexit.unregister(_sounddevice()._exit_handler)  # and so may PortAudio's own farewell
        else:
            for stream in self._streams:
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
        with _quiet_alsa():
            import sounddevice
    except ModuleNotFoundError:
        raise ConfigError(f"sound devices: {installs('live')}") from None
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


_STANDARD_ERROR = threading.Lock()


@contextlib.contextmanager
def _quiet_alsa() -> Iterator[None]:
    """Drop what ALSA prints on standard error: it lists there which devices are missing.

    Its errors are not lost, since PortAudio returns them. One thread at a time, since the
    descriptor is that of the process.
    """
    with _STANDARD_ERROR, contextlib.ExitStack() as stack:
        try:
            kept = os.dup(2)
        except OSError:  # a program without standard error
            yield
            return
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 2)
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
