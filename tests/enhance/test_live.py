"""`enhancelib live` between a real player and a real recorder; every device that fails is named."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
from conftest import PATIENCE_S, ROOT, interruptible

from enhancelib.audio.limiter import TruePeakLimiter
from enhancelib.audio.loudness import true_peak_db
from enhancelib.audio.reading import load
from enhancelib.enhance.live import LiveEnhancer, _as_channels
from enhancelib.enhance.modelfiles import default_model
from enhancelib.errors import ConfigError, InputError
from enhancelib.model.weights import PRETRAINED
from tools.dev import sound

LIVE = [sys.executable, "-m", "enhancelib", "live"]
PULSE = ["--input_device", "pulse", "--output_device", "pulse"]

needs_sound = pytest.mark.skipif(
    bool(sound.missing()),
    reason=f"no {', no '.join(sound.missing())}: `make sound` installs it where apt is there",
)


@pytest.fixture(scope="module")
def server():
    """Environment for clients of a sound server of its own."""
    with sound.server() as environment:
        yield environment


def run(arguments, environment):
    return subprocess.run(
        [*LIVE, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def refused(arguments, environment):
    """Run a command that must end with status 1 and one line on stderr; return that line."""
    done = run(arguments, environment)
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert done.stdout == ""
    return line


# ---------------------------------------------------------------- with a sound server


@needs_sound
def test_music_played_into_a_sink_comes_out_enhanced(tmp_path):
    """Ten seconds, in up to five attempts; how often a chunk is late is for `make soak`.

    With a second of patience and before other processes, where we may, since a busy machine makes
    chunks late; what is late all the same is counted. The sound server loses some milliseconds at
    times and tells nobody. Frames lie otherwise after that, so no second may then be the same.
    Once, on a busy machine, all came 0.18 s later than stated and nothing was counted: so the delay
    too is asked of the best attempt.
    """
    soak = ["nice", "-n", "-15", sys.executable, "-m", "tools.measure", "soaks.streaming"]
    soak += ["--only", "live", "--seconds", "10", "--patience_ms", "1000"]
    least, apart = [], []
    for attempt in range(5):
        path = tmp_path / f"live{attempt}.csv"
        subprocess.run([*soak, "--output", path], cwd=ROOT, check=True)
        values = pandas.read_csv(path).set_index("metric")["value"]
        assert values["latency_ms"] > 1000 + 1000 * 1023 / 44100
        least.append(values["least_difference_db"])
        apart.append(abs(values["latency_ms"] - values["stated_latency_ms"]))
        if values["difference_db"] < -60 and apart[-1] < 100:
            break
    assert min(least) < -60
    assert min(apart) < 100
    assert values["resident_mb"] < 150  # PortAudio brings ALSA's plugins, and they bring FFmpeg


def test_what_is_played_never_passes_full_scale_and_the_delay_is_stated():
    """Music 12 dB over full scale, in the blocks that a device would hand over."""
    live = LiveEnhancer(PRETRAINED / "fullband-44k.stream.onnx", block_size=512, amount=0.5)
    live._limiter = TruePeakLimiter(2, sample_rate=44100)
    path = ROOT / "data/excerpts/render_freedoom1_D_E1M8.flac"
    wave = 4 * load(path, sample_rate=44100, duration_s=2.0)[0]
    blocks = [wave[:, at : at + 512] for at in range(0, wave.shape[1] - 511, 512)]
    played = np.concatenate([live._process(block, 2) for block in blocks], axis=1)
    assert true_peak_db(wave) > 6
    assert np.abs(played).max() > 0.5
    assert true_peak_db(played[:, : 44100 + 22050]) <= 0
    quiet = LiveEnhancer(PRETRAINED / "fullband-44k.stream.onnx", block_size=512, amount=0.0)
    quiet._limiter = TruePeakLimiter(2, sample_rate=44100)
    heard = [block * np.float32(0.05) for block in blocks]
    out = np.concatenate([quiet._process(block, 2) for block in heard], axis=1)
    delay = quiet._delay_samples
    assert delay == 1023 + 82
    np.testing.assert_array_equal(out[:, delay:], np.concatenate(heard, axis=1)[:, :-delay])


@needs_sound
def test_terminal_shows_levels_switches_and_ends_at_ctrl_c(server):
    here, there = pty.openpty()
    process = subprocess.Popen(
        [*LIVE, *PULSE], env=server, stdin=there, stderr=there, stdout=subprocess.PIPE,
        text=True, start_new_session=True, preexec_fn=interruptible,
    )  # fmt: skip
    os.close(there)
    shown = read_until(here, "enhanced", timeout_s=PATIENCE_S)
    assert re.search(r"in +#* +-\d+ dB +out +#* +-\d+ dB +\d+ ms +\d+% \d+ late \d+ lost", shown)
    os.write(here, b"\n")
    assert "untreated" in read_until(here, "untreated", timeout_s=PATIENCE_S)
    os.write(here, b"\n")
    assert "enhanced" in read_until(here, "enhanced", timeout_s=PATIENCE_S)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the terminal ends with the process
        assert "Traceback" not in read_until(here, "\0", timeout_s=10)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert re.search(r"^\d+\.\d s enhanced, delay \d+ ms .*, load [\d.]+ %, \d+ late, ", said)
    os.close(here)


def read_until(terminal: int, text: str, *, timeout_s: float) -> str:
    shown, end = "", time.monotonic() + timeout_s
    while text not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096).decode()
    return shown


@needs_sound
def test_the_library_call_needs_no_training_stack(server):
    """In a process whose modules can be looked at."""
    program = """
        import sys, time
        import enhancelib as el
        with el.LiveEnhancer(input_device="pulse", output_device="pulse", amount=0.5) as live:
            live.enhancer.bypass = True
            while (status := live.status).seconds < 0.5:
                time.sleep(0.1)
        heavy = {"torch", "tensorflow", "librosa", "pandas", "matplotlib", "scipy", "onnx"}
        print(status.seconds, status.latency_ms, sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=server, capture_output=True, text=True, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    seconds, latency_ms, heavy = done.stdout.split(maxsplit=2)
    assert float(seconds) >= 0.5
    assert float(latency_ms) > 1000 * (1023 + 1024) / 44100
    assert heavy.strip() == "[]"


@needs_sound
def test_list_and_unknown_devices(server):
    done = run(["--list"], server)
    assert done.returncode == 0
    assert re.search(r"\bpulse, ALSA \(\d+ in, \d+ out\)", done.stdout)
    assert "'headset'" in refused([*PULSE[:2], "--output_device", "headset"], server)
    assert "input_device" in refused(["--input_device", "99"], server)


@needs_sound
def test_a_model_at_a_rate_that_no_device_has(server, tmp_path):
    import onnx

    model = onnx.load(default_model("onnx"))
    for entry in model.metadata_props:
        if entry.key == "sample_rate":
            entry.value = "1000000"
    onnx.save(model, tmp_path / "odd.stream.onnx")
    line = refused([*PULSE, "--model_path", tmp_path / "odd.stream.onnx"], server)
    assert "pulse: cannot be opened for input at 1000000 Hz" in line


@needs_sound
def test_devices_that_go_away_end_it_in_one_line():
    here, there = pty.openpty()
    with sound.server() as environment:
        process = subprocess.Popen(
            [*LIVE, *PULSE], env=environment, stdin=there, stderr=there, stdout=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip
        os.close(there)
        assert "enhanced" in read_until(here, "enhanced", timeout_s=PATIENCE_S)
    errors = read_until(here, "the sound devices stopped", timeout_s=PATIENCE_S)
    said, _ = process.communicate(timeout=PATIENCE_S)
    os.close(here)
    assert process.returncode == 1
    assert said == ""
    assert errors.splitlines()[-1].startswith("error: the sound devices stopped")


# ---------------------------------------------------------------- without one


def sound_cards() -> bool:
    cards = Path("/proc/asound/cards")
    return cards.exists() and "no soundcards" not in cards.read_text()


@pytest.mark.skipif("PortAudio" in sound.missing(), reason="PortAudio is not installed")
@pytest.mark.skipif(sys.platform != "linux" or sound_cards(), reason="this machine has sound cards")
def test_no_device():
    nobody = os.environ | {"PULSE_SERVER": "unix:/nonexistent", "PIPEWIRE_REMOTE": "nonexistent"}
    assert "this machine has no sound device" in refused(["--list"], nobody)
    assert "input_device: this machine has none" in refused([], nobody)


def test_no_portaudio():
    program = """
        import ctypes.util
        ctypes.util.find_library = lambda name: None
        from enhancelib.enhance.live import sound_devices
        try:
            sound_devices()
        except Exception as error:
            print(type(error).__name__, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ConfigError sound devices: PortAudio is not installed; ")


def test_an_impossible_amount_is_one_line():
    assert "amount: 1.5" in refused(["--amount", "1.5"], os.environ)


def test_impossible_settings_are_refused_before_any_device_is_opened():
    with pytest.raises(ConfigError, match="block_size: 0"):
        LiveEnhancer(block_size=0)
    with pytest.raises(InputError, match="amount"):
        LiveEnhancer(amount=2.0)
    with pytest.raises(InputError, match="queue_delay"):
        LiveEnhancer(queue_delay_samples=3)


@pytest.mark.parametrize(("preset", "rate"), [("fullband-44k", 44100), ("seed-22k", 22050)])
def test_a_slow_model_is_waited_for_half_a_block(preset, rate):
    live = LiveEnhancer(PRETRAINED / f"{preset}.stream.onnx", block_size=512)
    assert live.enhancer.sample_rate == rate
    assert live.enhancer._max_wait_s == pytest.approx(256 / rate)


def test_channels_are_repeated_or_mixed():
    stereo = np.array([[1.0, 0.0], [0.0, 0.5]], np.float32)
    np.testing.assert_array_equal(_as_channels(stereo, 1), [[0.5, 0.25]])
    np.testing.assert_array_equal(_as_channels(stereo[:1], 2), [[1, 0], [1, 0]])
    np.testing.assert_array_equal(_as_channels(stereo, 2), stereo)
