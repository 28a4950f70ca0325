"""Enhance a wave at once, or a stream chunk by chunk while it plays.

Latency, in samples of the model's rate::

    frame_length - 1      until the last frame over a sample is full (23.2 ms at 44.1 kHz)
  + queue_delay_samples   only behind start_processing(): time for the worker thread

Nothing here imports PyTorch, TensorFlow or librosa; with an ONNX or a TFLite file nothing does.
"""

from __future__ import annotations

import math
import os
import threading
import time
from dataclasses import dataclass
from typing import Self

import numpy as np

from enhancelib.audio.waves import Wave, check_wave
from enhancelib.checks import check_number, check_threads
from enhancelib.enhance.backends import Backend, PathLike
from enhancelib.enhance.frames import LARGEST, FrameEngine, blend
from enhancelib.enhance.modelfiles import as_backend, open_stream
from enhancelib.enhance.worker import FADE_SAMPLES, Direct, Timeline, Worker
from enhancelib.errors import InputError, ModelError

_FINISH_TIMEOUT_S = 10.0
_FEW_CHANNELS = 8  # a stream of more begins with a chunk that is longer than it is high
_LONGEST = 1 << 24  # of a delay: some minutes


def enhance_wave(
    wave: Wave,
    model: Backend | PathLike | None = None,
    *,
    sample_rate: int,
    amount: float = 1.0,
) -> Wave:
    """Enhance a whole wave.

    Args:
        wave: (channels, samples), float32 in [-1, 1]; each channel is enhanced on its own.
        model: a model file, an ``AudioUNet`` or an opened backend; ``None`` takes the default.
        sample_rate: of the wave in Hz; must be the model's.
        amount: of the enhancement, 0 to 1: ``wave + amount * (enhanced - wave)``; 0 gives the wave
            itself, bit for bit.

    Returns:
        Wave of the same shape, aligned with the input.

    Raises:
        InputError: the wave is none, its rate is not the model's, or the amount is impossible.
        ModelError: as :func:`enhancelib.enhance.modelfiles.open_model`, or the wave is longer than
            the clip file takes and its ``.stream`` sibling is not there.
    """
    amount = check_number(amount, "amount", high=1)
    wave, backend = check_wave(wave), as_backend(model)
    _check_model_rate(sample_rate, backend)
    if backend.clip and wave.shape[1] <= (backend.clip_samples or math.inf):
        return blend(wave, backend.run_clip(wave), amount)
    if not backend.stream:
        backend = open_stream(backend.path)
    engine = FrameEngine(backend, wave.shape[0])
    return blend(wave, np.concatenate([engine.push(wave), engine.finish()], axis=1), amount)


@dataclass(frozen=True)
class Counters:
    """What happened since the stream began.

    Attributes:
        chunks: chunks processed.
        samples: samples per channel processed.
        late_chunks: chunks of which some part had to be passed through instead of enhanced.
        dropped_samples: samples never handed to the model because the queue was full.
        waiting_samples: samples in the queue right now.
        load: seconds of work per second of audio; 1 means the device cannot keep up.
        failure: what the model's runtime raised, or nothing; what follows is passed through.
    """

    chunks: int = 0
    samples: int = 0
    late_chunks: int = 0
    dropped_samples: int = 0
    waiting_samples: int = 0
    load: float = 0.0
    failure: str = ""


class RealTimeAudioEnhancer:
    """Enhance a stream chunk by chunk.

    Every call of :meth:`process_audio_chunk` returns exactly as many samples as it was given, the
    stream delayed by :attr:`latency_samples`. Until :meth:`start_processing` it works in the
    caller's thread and equals the offline result. Behind it a worker thread does the work: a chunk
    that is not ready in time is passed through, cross-faded, and counted. Several threads may call
    the methods of one object: each call waits for the one before it.

    Args:
        model_path: a model file (for a whole-clip file its ``.stream`` sibling is opened), or an
            opened backend or an ``AudioUNet``; ``None`` takes the default model.
        model_type: ``"pytorch"``, ``"onnx"``, ``"tflite"``, ``"torchscript"``; ``None`` goes by the
            suffix.
        sample_rate: of the chunks in Hz; refused if it is not the model's.
        amount: of the enhancement, 0 to 1, as in :func:`enhance_wave`; may be set while running.
        bypass: whether to pass the input through, equally delayed; may be set while running.
        queue_delay_samples: extra delay in threaded mode: how far the worker may lag.
        queue_samples: most samples that may wait for the worker.
        max_wait_s: longest that a threaded call waits for the worker; ``None``: as long as its
            chunk lasts; 0 for an audio callback.
        threads: of the model's runtime; ``None`` as in
            :func:`enhancelib.enhance.modelfiles.open_model`.
        wet: the former name of ``amount``, refused with the new one.

    Raises:
        ModelError: the model cannot be opened or cannot stream.
        InputError: an argument is impossible.
    """

    def __init__(
        self,
        model_path: PathLike | Backend | None = None,
        model_type: str | None = None,
        *,
        sample_rate: int | None = None,
        amount: float = 1.0,
        bypass: bool = False,
        queue_delay_samples: int = 1024,
        queue_samples: int = 44100,
        max_wait_s: float | None = None,
        threads: int | None = None,
        wet: object = None,
    ):
        if wet is not None:
            raise InputError("wet: is called amount now; pass amount, from 0 to 1")
        check_threads(threads)
        if model_path is None or isinstance(model_path, str | os.PathLike):
            self._backend = open_stream(model_path, model_type, threads=threads)
        else:
            self._backend = as_backend(model_path)
        if not self._backend.stream:
            raise ModelError(f"{self._backend.path}: takes whole clips only; open its .stream file")
        if sample_rate is not None:
            _check_model_rate(sample_rate, self._backend)
        self.amount = amount
        self.bypass = bypass
        self._queue_delay = check_number(
            queue_delay_samples, "queue_delay_samples", low=FADE_SAMPLES, high=_LONGEST, whole=True
        )
        self._queue_samples = check_number(queue_samples, "queue_samples", low=1, whole=True)
        self._max_wait_s = (
            None if max_wait_s is None else check_number(max_wait_s, "max_wait_s", high=3600)
        )
        self._threaded = False
        self._stream: _Stream | None = None
        self._form: tuple[int, ...] = ()  # of the last chunk, without its samples
        self._one_at_a_time = threading.RLock()

    @property
    def sample_rate(self) -> int:
        """Sample rate of the model and so of the stream, in Hz."""
        return self._backend.metadata.sample_rate

    @property
    def latency_samples(self) -> int:
        """Delay of the output: ``frame_length - 1``, and the queue's delay in threaded mode."""
        if stream := self._stream:
            return stream.latency
        return self._backend.metadata.latency_samples + self._threaded * self._queue_delay

    @property
    def amount(self) -> float:
        """Share of the enhancement in the output, 0 (input) to 1; changes are faded."""
        return self._amount

    @amount.setter
    def amount(self, amount: float) -> None:
        self._amount = check_number(amount, "amount", high=1)

    @property
    def counters(self) -> Counters:
        """See :class:`Counters`; all zero before the first chunk of a stream."""
        return stream.counters(self.sample_rate) if (stream := self._stream) else Counters()

    def start_processing(self) -> None:
        """Begin a new stream behind a worker thread; does nothing if one is running."""
        with self._one_at_a_time:
            if self._threaded:
                return
            self.reset()
            self._threaded = True
            bins, states = self._backend.metadata.hop_length + 1, self._backend.initial_state()
            for _ in range(3):  # a runtime's first calls are its slowest: it plans, it compiles
                self._backend.step(np.zeros((1, 1, bins, 2), np.float32), states)

    def stop_processing(self) -> None:
        """End the worker thread; :meth:`flush` still returns the rest of its stream."""
        with self._one_at_a_time:
            self._threaded = False
            if self._stream:
                self._stream.finish()

    def reset(self) -> None:
        """Drop what is under way and begin a new stream, in the same mode."""
        with self._one_at_a_time:
            if self._stream:
                self._stream.close()
            self._stream = None

    def flush(self) -> np.ndarray:
        """End the stream: return its last :attr:`latency_samples` samples and begin a new one.

        Returns:
            float32 (samples,) or (channels, samples), as the last chunk was; (samples,) where
            there was none. Silence where nothing was pushed since the stream began.
        """
        with self._one_at_a_time:
            rest, stream = self.latency_samples, self._stream
            if stream is None:
                return np.zeros((*self._form, rest), np.float32)
            stream.finish()
            out = stream.play(rest, self._level(), deadline=0.0)
            self.reset()
            return out.reshape(*self._form, rest)

    def process_audio_chunk(self, chunk: np.ndarray) -> np.ndarray:
        """Take the next chunk and return as many samples of the delayed, enhanced stream.

        Args:
            chunk: float, (samples,) or (channels, samples), any number of samples; its number of
                channels stays the same until :meth:`reset`.

        Returns:
            float32 array of the same shape.

        Raises:
            InputError: NaN, integers, or another number of channels; the stream is unharmed.
            ModelError: without the worker thread, the model gives NaN; the next chunk begins a new
                stream.
        """
        try:
            chunk = np.asarray(chunk)
        except ValueError as error:
            raise InputError(f"chunk: is no array ({error})") from None
        if chunk.size == 0:
            return self._nothing(chunk)
        wave = check_wave(chunk[None] if chunk.ndim == 1 else chunk, name="chunk")
        wave = np.clip(wave, -LARGEST, LARGEST)
        with self._one_at_a_time:
            if self._stream and self._stream.finished:
                self.reset()
            if self._stream is None:
                _check_axes(wave)
                self._form = chunk.shape[:-1]
                self._stream = self._open(wave.shape[0])
            elif chunk.shape[:-1] != self._form:
                raise InputError(
                    f"chunk: shape {chunk.shape} after chunks of {self._stream.channels} channels; "
                    "call reset() to begin a new stream"
                )
            try:
                return self._stream_on(wave).reshape(chunk.shape)
            except Exception:
                self.reset()  # half a step was done
                raise

    def _nothing(self, chunk: np.ndarray) -> np.ndarray:
        """An empty chunk for an empty one, which begins no stream but tells its form."""
        if chunk.ndim not in (1, 2) or chunk.shape[-1]:
            raise InputError(f"chunk: shape {chunk.shape}; give (samples,) or (channels, samples)")
        with self._one_at_a_time:
            if self._stream is None and chunk.ndim and 0 not in chunk.shape[:-1]:
                self._form = chunk.shape[:-1]
        return np.zeros(chunk.shape, np.float32)

    def _stream_on(self, wave: Wave) -> Wave:
        stream, samples = self._stream, wave.shape[1]
        assert stream is not None
        wait = samples / self.sample_rate if self._max_wait_s is None else self._max_wait_s
        deadline = time.monotonic() + wait
        stream.push(wave, deadline)
        return stream.play(samples, self._level(), deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop_processing()

    def _level(self) -> float:
        return 0.0 if self.bypass else self._amount

    def _open(self, channels: int) -> _Stream:
        latency = self.latency_samples

        def make_engine() -> FrameEngine:
            return FrameEngine(self._backend, channels)

        if not self._threaded:
            return _Stream(Direct(make_engine(), channels, latency), channels, latency)
        worker = Worker(make_engine, channels, latency, queue_samples=self._queue_samples)
        return _Stream(worker, channels, latency)


class _Stream:
    """One stream from its first chunk to its end.

    Positions count samples from the first one pushed; the output begins ``latency`` before it.
    """

    def __init__(self, source: Direct | Worker, channels: int, latency: int):
        self.channels, self.latency = channels, latency
        self.finished = False
        self._source = source
        self._dry = Timeline(channels)
        self._mixer: _Mixer | None = None
        self._pushed, self._played = 0, -latency
        self._chunks = self._late_chunks = self._dropped_samples = 0

    def push(self, wave: Wave, deadline: float) -> None:
        """Take the next samples."""
        kept = wave.copy()  # the caller may use its buffer again
        self._dry.append(self._pushed, kept)
        if not self._source.submit(self._pushed, kept, deadline=deadline):
            self._dropped_samples += wave.shape[1]
        self._pushed += wave.shape[1]
        self._chunks += 1

    def play(self, samples: int, level: float, deadline: float) -> Wave:
        """Return the next samples of the output, with this share of the enhanced signal."""
        self._mixer = self._mixer or _Mixer(level)
        start, self._played = self._played, self._played + samples
        until = self._played + FADE_SAMPLES
        end = self._source.wait_ready(start, until, deadline=deadline)
        out, whole = self._mixer.mix(
            self._dry.read(start, samples),
            self._source.read(start, samples),
            ready=end - start,
            level=level,
        )
        self._dry.forget(self._played)
        self._late_chunks += not whole
        return out

    def finish(self) -> None:
        """End the stream; what is left of it can still be played."""
        if not self.finished:
            self.finished = True
            self._source.finish(self._pushed, timeout_s=_FINISH_TIMEOUT_S)

    def close(self) -> None:
        """Drop what is under way."""
        self._source.stop(timeout_s=_FINISH_TIMEOUT_S)

    def counters(self, sample_rate: int) -> Counters:
        """Return the counts of the stream so far."""
        return Counters(
            chunks=self._chunks,
            samples=self._pushed,
            late_chunks=self._late_chunks,
            dropped_samples=self._dropped_samples,
            waiting_samples=self._source.waiting_samples,
            load=self._source.busy_seconds * sample_rate / max(1, self._pushed),
            failure=str(self._source.failure or ""),
        )


class _Mixer:
    """Cross-fade between the dry and the enhanced signal, sample by sample.

    The gain of the enhanced signal never changes by more than ``1 / FADE_SAMPLES`` per sample: it
    falls to zero where the enhanced signal ends and rises again when there is more.
    """

    def __init__(self, level: float):
        self._presence = 1.0
        self._level = level

    def mix(self, dry: Wave, enhanced: Wave, *, ready: float, level: float) -> tuple[Wave, bool]:
        """Mix two waves of one shape.

        Args:
            dry: the delayed input.
            enhanced: the same stretch of the stream, enhanced.
            ready: how many enhanced samples are there, counted from the first of this stretch; may
                reach beyond its end.
            level: wanted share of the enhanced signal.

        Returns:
            The mixture, and whether all of the enhanced stretch could be used.
        """
        step = np.arange(1, dry.shape[1] + 1, dtype=np.float32) / FADE_SAMPLES
        left = (ready + 1) / FADE_SAMPLES - step
        presence = np.minimum(np.minimum(self._presence + step, 1), np.clip(left, 0, 1))
        levels = self._level + np.clip(level - self._level, -step, step)
        self._presence, self._level = float(presence[-1]), float(levels[-1])
        share = (presence * levels).astype(np.float32)
        return blend(dry, enhanced, share), bool(presence.min() == 1)


def _check_axes(wave: Wave) -> None:
    """Refuse (samples, channels), as sound devices hand it, where the first chunk can tell."""
    channels, samples = wave.shape
    if channels > max(_FEW_CHANNELS, samples):
        raise InputError(
            f"chunk: {channels} channels of {samples} samples; give (channels, samples), so "
            "transpose it"
        )


def _check_model_rate(sample_rate: int, backend: Backend) -> None:
    wanted = backend.metadata.sample_rate
    if sample_rate != wanted:
        raise InputError(
            f"sample_rate: {sample_rate} Hz, but {backend.path or 'the model'} takes {wanted} Hz; "
            "resample first"
        )
