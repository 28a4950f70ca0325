"""A thread that runs a frame engine behind bounded queues.

Positions count samples of the stream from its first sample. The caller submits chunks and reads
results by position; what is not there in time is simply absent, and the caller decides what to
play instead.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from enhancelib.audio.waves import Wave
from enhancelib.enhance.frames import FrameEngine

FADE_SAMPLES = 128
"""Length of the cross-fade between input and enhancement; results are awaited so far ahead."""

_PIECE_SAMPLES = 4096  # the results of a long chunk appear piece by piece


class Timeline:
    """Stretches of a stream, in order, perhaps with holes between them."""

    def __init__(self, channels: int):
        self._channels = channels
        self._stretches: deque[tuple[int, Wave]] = deque()

    def append(self, start: int, wave: Wave) -> None:
        """Add samples that begin at position ``start``, not before the end of the last ones."""
        if wave.shape[1]:
            self._stretches.append((start, wave))

    def end_of_run(self, position: int) -> int:
        """Return where the samples that follow on from ``position`` end; itself if none do."""
        for start, wave in self._stretches:
            if start > position:
                break
            position = max(position, start + wave.shape[1])
        return position

    def read(self, start: int, samples: int) -> Wave:
        """Copy [start, start + samples); zeros where nothing is."""
        out = np.zeros((self._channels, samples), np.float32)
        for first, wave in self._stretches:
            begin, end = max(first, start), min(first + wave.shape[1], start + samples)
            if begin < end:
                out[:, begin - start : end - start] = wave[:, begin - first : end - first]
        return out

    def take(self, start: int, samples: int) -> Wave:
        """Read, and forget all before the end of what was read."""
        out = self.read(start, samples)
        self.forget(start + samples)
        return out

    def forget(self, before: int) -> None:
        """Drop stretches that end at or before a position."""
        while self._stretches:
            start, wave = self._stretches[0]
            if start + wave.shape[1] > before:
                return
            self._stretches.popleft()


class Direct:
    """Runs the engine in the caller's thread: results are there at once."""

    waiting_samples = 0
    failure: Exception | None = None

    def __init__(self, engine: FrameEngine, channels: int, latency: int):
        self.busy_seconds = 0.0
        self._engine = engine
        self._results = _silence_before(channels, latency)

    def submit(self, position: int, chunk: Wave, *, deadline: float) -> bool:
        """Enhance the next samples of the stream."""
        began = time.perf_counter()
        start = self._engine.samples_out
        self._results.append(start, self._engine.push(chunk))
        self.busy_seconds += time.perf_counter() - began
        return True

    def wait_ready(self, position: int, until: int, *, deadline: float) -> float:
        """Return at once: the caller's own thread has finished all that can be asked for."""
        return math.inf

    def read(self, start: int, samples: int) -> Wave:
        """Return enhanced samples and forget all before their end."""
        return self._results.take(start, samples)

    def finish(self, end: int, *, timeout_s: float) -> None:
        """End the stream at this position."""
        start = self._engine.samples_out
        self._results.append(start, self._engine.finish())

    def stop(self, *, timeout_s: float) -> None:
        """Do nothing: there is no thread to stop."""


class Worker:
    """Runs the engine in a thread of its own.

    Args:
        make_engine: makes a fresh engine; called again after samples had to be dropped.
        channels: number of audio channels.
        latency: results begin with so many samples of silence before position 0.
        queue_samples: most samples that may wait (a single longer chunk may).
    """

    def __init__(
        self,
        make_engine: Callable[[], FrameEngine],
        channels: int,
        latency: int,
        *,
        queue_samples: int,
    ):
        self.busy_seconds = 0.0
        self.failure: Exception | None = None
        self._changed = threading.Condition()
        self._results = _silence_before(channels, latency)
        self._make_engine = make_engine
        self._engine = make_engine()
        self._first = 0  # position of the engine's first sample
        self._end: int | None = None  # position where the stream ended
        self._queue: deque[tuple[int, Wave]] = deque()
        self._queue_samples = queue_samples
        self._waiting = 0
        self._idle = True
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="enhancelib-worker", daemon=True)
        self._thread.start()

    @property
    def waiting_samples(self) -> int:
        """Samples submitted and not yet begun."""
        return self._waiting

    def submit(self, position: int, chunk: Wave, *, deadline: float) -> bool:
        """Queue a chunk; wait for room until ``deadline`` (:func:`time.monotonic`).

        Returns:
            Whether it was taken. If not, the stream goes on with a hole there.
        """
        samples = chunk.shape[1]
        with self._changed:
            self._changed.wait_for(
                lambda: not self._waiting or self._waiting + samples <= self._queue_samples,
                max(0.0, deadline - time.monotonic()),
            )
            if self._waiting and self._waiting + samples > self._queue_samples:
                return False
            self._queue.append((position, chunk))
            self._waiting += samples
            self._changed.notify_all()
            return True

    def wait_ready(self, position: int, until: int, *, deadline: float) -> float:
        """Wait for results from ``position`` up to ``until``; return where they end.

        Infinity means up to the end of the stream.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self.failure or self._end_of_run(position) >= until,
                max(0.0, deadline - time.monotonic()),
            )
            return self._end_of_run(position)

    def read(self, start: int, samples: int) -> Wave:
        """Return enhanced samples, zeros where there are none, and forget all before their end."""
        with self._changed:
            return self._results.take(start, samples)

    def finish(self, end: int, *, timeout_s: float) -> None:
        """Work the queue off, as far as time allows, and end stream (at ``end``) and thread."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._idle and not self._queue, timeout_s)
        try:
            if done and not self.failure:
                start = self._first + self._engine.samples_out
                self._results.append(start, self._engine.finish())
                self._end = end
        except Exception as error:  # as in the thread: what is missing is passed through
            self.failure = error
        finally:
            self.stop(timeout_s=timeout_s)

    def stop(self, *, timeout_s: float) -> None:
        """End the thread after the frame it is at; queued chunks are dropped."""
        with self._changed:
            self._stopping = True
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _end_of_run(self, position: int) -> float:
        end = self._results.end_of_run(position)
        return math.inf if self._end is not None and end >= self._end else end

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._idle = not self._queue
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._queue or self._stopping)
                if self._stopping:
                    return
                self._idle = False
                position, chunk = self._queue.popleft()
                self._waiting -= chunk.shape[1]
                self._changed.notify_all()
            try:
                self._enhance(position, chunk)
            except Exception as error:  # whatever the runtime raises: the sound must go on
                with self._changed:
                    self.failure = error

    def _enhance(self, position: int, chunk: Wave) -> None:
        if self.failure:
            return
        if position != self._first + self._engine.samples_in:  # a hole: begin anew behind it
            self._engine, self._first = self._make_engine(), position
        for at in range(0, chunk.shape[1], _PIECE_SAMPLES):
            began = time.perf_counter()
            start = self._first + self._engine.samples_out
            final = self._engine.push(chunk[:, at : at + _PIECE_SAMPLES])
            with self._changed:
                self.busy_seconds += time.perf_counter() - began
                self._results.append(start, final)
                self._changed.notify_all()
                if self._stopping:
                    return


def _silence_before(channels: int, latency: int) -> Timeline:
    """Results with the silence that the latency puts before the first sample."""
    results = Timeline(channels)
    results.append(-latency, np.zeros((channels, latency), np.float32))
    return results


UNCHANGED_PEAK = 2.0**-16
"""A change that stays under it, half a step of 16 bits, leaves every sample of a CD as it was."""


class ChangeMeter:
    """Compares a stream with what became of it, block by block, at constant memory."""

    def __init__(self):
        self._blocks: Timeline | None = None
        self._seen = self._compared = 0
        self._before = self._added = self._peak = 0.0

    def before(self, stream: Iterable[Wave]) -> Iterator[Wave]:
        """Pass on the waves (channels, samples) of the stream, and remember them."""
        for block in stream:
            self._blocks = self._blocks or Timeline(block.shape[0])
            self._blocks.append(self._seen, block)
            self._seen += block.shape[1]
            yield block

    def after(self, stream: Iterable[Wave]) -> Iterator[Wave]:
        """Pass on what became of the stream, aligned with it, and compare the two."""
        for block in stream:
            assert self._blocks is not None  # nothing comes of a stream before it has begun
            was = self._blocks.take(self._compared, block.shape[1])
            self._compared += block.shape[1]
            added = (block - was).astype(np.float64)
            self._before += float(np.sum(np.square(was, dtype=np.float64)))
            self._added += float(np.sum(np.square(added)))
            self._peak = max(self._peak, float(np.abs(added).max(initial=0)))
            yield block

    @property
    def filled_db(self) -> float:
        """Power of what was added, in dB above that of the recording; −∞: nothing was changed."""
        if self._peak < UNCHANGED_PEAK:
            return -math.inf
        return 10 * math.log10(self._added / self._before) if self._before else math.inf
