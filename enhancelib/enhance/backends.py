"""Run a model in its own runtime: ONNX Runtime, LiteRT, TorchScript or PyTorch.

Making a backend imports its runtime and none of the others. Every backend offers the same two
doors: :meth:`Backend.run_clip` (waveform to waveform) and :meth:`Backend.step` (the next spectral
frames with explicit state). An exported file has one of them, a checkpoint both.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from enhancelib.errors import InputError, ModelError
from enhancelib.metadata import (
    METADATA_NAME,
    Metadata,
    PathLike,
    describe,
    foreign,
    parse_facts,
    tflite_metadata,
)

States = list[np.ndarray]


class Backend:
    """A model opened in one runtime.

    Attributes:
        path: the file, ``None`` for a model in memory.
        metadata: see :class:`Metadata`.
        clip: whether :meth:`run_clip` can be used.
        stream: whether :meth:`step` can be used.
        clip_samples: the only length the clip graph takes, ``None`` for any.
    """

    model_type: ClassVar[str]
    path: Path | None
    metadata: Metadata
    clip: bool
    stream: bool
    clip_samples: int | None = None

    def run_clip(self, wave: np.ndarray) -> np.ndarray:
        """Enhance a wave (channels, samples), float32; same shape out, not delayed.

        Raises:
            ModelError: the file holds only the streaming step.
            InputError: the wave is longer than a graph of fixed length takes.
        """
        if not self.clip:
            raise ModelError(f"{self.path}: holds the streaming step; open the whole-clip file")
        samples, fixed = wave.shape[1], self.clip_samples
        if fixed is not None and samples > fixed:
            raise InputError(
                f"wave: {samples} samples, but {self.path} takes {fixed}; "
                f"open its .stream sibling instead"
            )
        # The network is causal: zeros after the end change nothing before it.
        padding = 0 if fixed is None else fixed - samples
        padded = np.pad(wave, ((0, 0), (0, padding))).astype(np.float32, copy=False)
        channels = [self._run_clip(channel[None, None]) for channel in padded]
        return check_sound(np.concatenate(channels)[:, 0, :samples], self)

    def initial_state(self, channels: int = 1) -> States:
        """Zero states for so many audio channels."""
        return [np.zeros((channels, *shape[1:]), np.float32) for shape in self._state_shapes()]

    def step(self, spectrum: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """Enhance the next frames, one or several: the result is the same, several are faster.

        Args:
            spectrum: float32 (channels, frames, bins, 2), C order: the windowed real FFT of each
                frame, not normalised.
            states: from :meth:`initial_state` or the previous call.

        Returns:
            The enhanced spectrum, same shape, and the new states.
        """
        raise NotImplementedError

    def _run_clip(self, wave: np.ndarray) -> np.ndarray:
        """Enhance (1, 1, samples)."""
        raise NotImplementedError

    def _state_shapes(self) -> list[tuple[int, ...]]:
        raise NotImplementedError

    def _sort(self, inputs: Sequence[str]) -> None:
        """Set ``clip`` and ``stream`` from the names of the graph's inputs."""
        self.clip = list(inputs) == ["input"]
        self.stream = "spectrum" in inputs
        if not self.clip and not self.stream:
            raise foreign(self.path, f"its inputs are {', '.join(inputs) or 'none'}")

    def _check_axes(self, axes: int) -> None:
        """Refuse a stream exported when a spectrum had no axis of frames yet."""
        if self.stream and axes != 4:
            raise ModelError(f"{self.path}: made for one frame at a time; export it again")


class OnnxBackend(Backend):
    """ONNX Runtime on the CPU."""

    model_type = "onnx"

    def __init__(self, path: PathLike, *, threads: int = 1):
        import onnxruntime

        self.path = Path(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A clip's tensors are megabytes: asking the system for each again takes as long as the
        # arithmetic. A frame's are small: an arena would only hold on to memory.
        options.enable_cpu_mem_arena = ".stream." not in self.path.name
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a class of its own for each kind of damage
            raise _damaged(path, error) from None
        facts = self._session.get_modelmeta().custom_metadata_map
        self.metadata = Metadata.from_strings(facts, path=path)
        inputs = self._session.get_inputs()
        self._inputs = [node.name for node in inputs]
        self._outputs = [node.name for node in self._session.get_outputs()]
        self._shapes = [tuple(node.shape) for node in inputs]
        self._sort(self._inputs)
        self._check_axes(len(self._shapes[0]))

    def _run_clip(self, wave: np.ndarray) -> np.ndarray:
        return self._session.run(None, {"input": wave})[0]

    def _state_shapes(self) -> list[tuple[int, ...]]:
        return self._shapes[1:]

    def step(self, spectrum: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """See :meth:`Backend.step`."""
        feeds = dict(zip(self._inputs, (spectrum, *states), strict=True))
        enhanced, *kept = self._session.run(self._outputs, feeds)
        return enhanced, kept


class LiteRTBackend(Backend):
    """LiteRT, formerly TensorFlow Lite, on the CPU with XNNPACK.

    Its graphs have fixed shapes, so every frame of every audio channel is run on its own.
    """

    model_type = "tflite"

    def __init__(self, path: PathLike, *, threads: int = 1):
        from ai_edge_litert.interpreter import Interpreter

        self.path = Path(path)
        self._alone = threading.Lock()  # an interpreter holds the tensors of one call
        content = self.path.read_bytes()
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=threads)
            facts = tflite_metadata(content)
            self._interpreter.allocate_tensors()
            signature = self._interpreter.get_signature_runner()
        except Exception as error:  # ValueError, RuntimeError, struct.error, IndexError …
            raise _damaged(path, error) from None
        self.metadata = Metadata.from_strings(facts, path=path)
        inputs = _by_number(signature.get_input_details())
        outputs = _by_number(signature.get_output_details())
        self._inputs = [details["index"] for details in inputs.values()]
        self._outputs = [details["index"] for details in outputs.values()]
        self._shapes = [tuple(details["shape"].tolist()) for details in inputs.values()]
        # The states of an 8-bit file are integers, and the one that stands for zero is not zero.
        self._zeros = [details["dtype"](details["quantization"][1]) for details in inputs.values()]
        self._sort(list(inputs))
        self._check_axes(len(self._shapes[0]))
        if self.clip:
            self.clip_samples = self._shapes[0][2]

    def _run_clip(self, wave: np.ndarray) -> np.ndarray:
        return self._invoke([wave])[0]

    def _state_shapes(self) -> list[tuple[int, ...]]:
        return self._shapes[1:]

    def initial_state(self, channels: int = 1) -> States:
        """See :meth:`Backend.initial_state`; integers where the file keeps its states in 8 bits."""
        pairs = zip(self._state_shapes(), self._zeros[1:], strict=True)
        return [np.full((channels, *shape[1:]), zero) for shape, zero in pairs]

    def step(self, spectrum: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """See :meth:`Backend.step`."""
        return step_by_step(self._invoke, spectrum, states)

    def _invoke(self, tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self._alone:
            for index, tensor in zip(self._inputs, tensors, strict=True):
                self._interpreter.set_tensor(index, tensor)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]


class TorchScriptBackend(Backend):
    """A TorchScript archive, run by PyTorch."""

    model_type = "torchscript"

    def __init__(self, path: PathLike, *, threads: int | None = None):
        import torch

        self.path = Path(path)
        self._torch = torch
        if threads is not None:
            torch.set_num_threads(threads)
        extra = {METADATA_NAME: ""}
        try:
            with warnings.catch_warnings():  # PyTorch announces TorchScript's successor
                warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated")
                self._module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
        except Exception as error:  # RuntimeError, or what a damaged archive provokes
            raise _damaged(path, error) from None
        facts = parse_facts(extra[METADATA_NAME])
        self.metadata = Metadata.from_strings(facts, path=path)
        inputs = [value.debugName().split(".")[0] for value in self._module.graph.inputs()][1:]
        self._sort(["input"] if inputs == ["wave"] else inputs)
        try:
            self._shapes = [tuple(shape) for shape in json.loads(facts.get("state_shapes", "[]"))]
        except (ValueError, TypeError, RecursionError):
            raise foreign(path, "metadata 'state_shapes' is damaged") from None

    def _run_clip(self, wave: np.ndarray) -> np.ndarray:
        with self._torch.inference_mode():
            return self._module(self._torch.from_numpy(wave)).numpy()

    def _state_shapes(self) -> list[tuple[int, ...]]:
        return self._shapes

    def step(self, spectrum: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """See :meth:`Backend.step`."""
        tensors = [self._torch.from_numpy(tensor) for tensor in (spectrum, *states)]
        with self._torch.inference_mode():
            enhanced, *kept = self._module(*tensors)
        return enhanced.numpy(), [state.numpy() for state in kept]


class PyTorchBackend(Backend):
    """The network itself, from a checkpoint or from memory.

    Args:
        model: an ``AudioUNet``.
        metadata: what to say of it.
        path: where it was read from.
        threads: of PyTorch, for the whole process; ``None`` leaves it as it is.
    """

    model_type = "pytorch"
    clip = stream = True

    def __init__(self, model, metadata: Metadata, *, path: Path | None, threads: int | None = None):
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self._torch, self._model = torch, model.eval()
        self.path, self.metadata = path, metadata

    @classmethod
    def open(cls, path: PathLike, *, threads: int | None = None) -> Self:
        """Open a ``.safetensors`` or ``.pth`` checkpoint."""
        from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint
        from enhancelib.model.network import AudioUNet

        path = Path(path)
        model = AudioUNet.load(path)
        facts, _ = read_checkpoint(path)
        metadata = describe(
            model,
            preset=facts.get("preset", path.stem),
            checkpoint_sha256=checkpoint_sha256(path),
            licence=facts.get("licence", "MIT"),
        )
        return cls(model, metadata, path=path, threads=threads)

    def _run_clip(self, wave: np.ndarray) -> np.ndarray:
        with self._torch.inference_mode():
            return self._model(self._torch.from_numpy(wave)).numpy()

    def _state_shapes(self) -> list[tuple[int, ...]]:
        return [tuple(state.shape) for state in self._model.initial_state()]

    def step(self, spectrum: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """See :meth:`Backend.step`."""
        tensors = [self._torch.from_numpy(tensor) for tensor in (spectrum, *states)]
        with self._torch.inference_mode():
            enhanced, *kept = self._model.step(*tensors)
        return enhanced.contiguous().numpy(), [state.contiguous().numpy() for state in kept]


def check_sound(enhanced: np.ndarray, backend: Backend) -> np.ndarray:
    """Return what a model gave for a finite input.

    Raises:
        ModelError: NaN or infinity is in it; the model is named, for it is to blame.
    """
    if not np.isfinite(enhanced).all():
        raise ModelError(
            f"{backend.path or 'the model'}: gives NaN or infinity for sound audio; its training "
            "diverged or the file is damaged, so name another model"
        )
    return enhanced


def step_by_step(
    invoke: Callable[[list[np.ndarray]], list[np.ndarray]], spectrum: np.ndarray, states: States
) -> tuple[np.ndarray, States]:
    """:meth:`Backend.step` with a graph that takes one frame of one audio channel."""
    channels = []
    for i in range(len(spectrum)):
        kept = [state[i : i + 1] for state in states]
        frames = []
        for k in range(spectrum.shape[1]):
            frame, *kept = invoke([spectrum[i : i + 1, k : k + 1], *kept])
            frames.append(frame)
        channels.append([np.concatenate(frames, axis=1), *kept])
    enhanced, *states = (np.concatenate(parts) for parts in zip(*channels, strict=True))
    return enhanced, states


def _damaged(path: PathLike, error: Exception) -> ModelError | ModuleNotFoundError:
    if isinstance(error, ModuleNotFoundError | ModelError):
        return error
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(f"{path}: damaged or of another kind; export it again ({reason[:200]})")


def _by_number(details: Mapping[str, dict]) -> dict[str, dict]:
    """Order ``spectrum``, ``state_0``, … ``state_10`` by number; LiteRT sorts them as text."""

    def number(item: tuple[str, dict]) -> int:
        tail = item[0].rpartition("_")[2]
        return int(tail) if tail.isdigit() else -1

    return dict(sorted(details.items(), key=number))
