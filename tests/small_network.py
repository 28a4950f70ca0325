"""A small network and real music, for the tests of what makes networks smaller."""

from pathlib import Path

import numpy as np
import torch

from enhancelib import audio
from enhancelib.degrade.codecs import degrade
from enhancelib.model.network import AudioUNet

RATE = 16000
SMALL = {"base_channels": 8, "depth": 2, "sample_rate": RATE}
SMALL |= {"frame_length": 256, "hop_length": 128, "bands": 8, "blocks": 1, "dilations": (1, 2)}

FILLED = {"base_channels": 4, "depth": 2, "sample_rate": 22050, "frame_length": 128}
FILLED |= {"hop_length": 64, "bands": 8, "blocks": 1, "dilations": (1, 2)}
FILLED |= {"fill": {"band_bins": 4, "octaves": 2, "width": 10, "dilations": (1, 2)}}


def network(seed: int = 0, **changes) -> AudioUNet:
    """A small network that changes the audio: its head is not zero, its norms are not trivial."""
    torch.manual_seed(seed)
    model = AudioUNet(**{**SMALL, **changes}).eval()
    torch.nn.init.normal_(model.core.head.weight, std=0.2)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    return model


def filled_network(**settings) -> AudioUNet:
    """A network with random weights throughout, which fills a lot."""
    torch.manual_seed(0)
    model = AudioUNet(**settings).eval()
    for name, values in model.named_buffers():
        if name.endswith("running_mean"):
            values.normal_(0, 0.1)
        elif name.endswith("running_var"):
            values.uniform_(0.5, 1.5)
    for parameter in model.core.head.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    head = model.core.fill.predictor.head
    torch.nn.init.normal_(head.weight, 0, 0.3)
    outputs = head.bias.shape[0] // 2
    with torch.no_grad():
        head.bias.copy_(torch.tensor([-2.0, 2.0]).repeat_interleave(outputs))
    return model


def run(model: AudioUNet, wave: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(wave)[:, None])[:, 0].numpy()


def error_db(estimate: np.ndarray, reference: np.ndarray) -> float:
    return 10 * float(np.log10(np.square(estimate - reference).sum() / np.square(reference).sum()))


def real_music(root: Path) -> list[np.ndarray]:
    """Real music through a real codec, two seconds each, mono."""
    waves = []
    for file in audio.find_audio(root / "data/excerpts")[::8]:
        wave, _ = audio.load(file, sample_rate=RATE, duration_s=2.0)
        waves.append(degrade(wave[:1], "mp3-64", sample_rate=RATE))
    return waves
