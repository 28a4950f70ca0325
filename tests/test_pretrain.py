"""The start of the 22 kHz network inside the 44 kHz one."""

import pretrain
import torch

from enhancelib.model import AudioUNet


def test_lower_bands_do_what_they_did_in_the_whole(tmp_path):
    torch.manual_seed(0)
    whole = AudioUNet.from_preset("fullband-44k").eval()
    with torch.no_grad():  # untrained, several layers are zero
        for weight in whole.parameters():
            weight.normal_(std=0.05)
    path = whole.save(tmp_path / "whole.safetensors")
    lower = AudioUNet.load(pretrain.lower_bands(path, "seed-22k", tmp_path / "lower.safetensors"))
    lower.eval()
    body = torch.randn(1, 2, 512, 3)
    bands, bins = lower.config.bands, lower.config.hop_length
    with torch.no_grad():
        embedded = whole.core._embed(body)
        assert torch.allclose(lower.core._embed(body[:, :, :bins]), embedded[:, :, :bands])
        correction = whole.core.head(embedded.transpose(1, 2).flatten(1, 2))[:, : bands * 4 * 16]
        own = lower.core.head(embedded[:, :, :bands].transpose(1, 2).flatten(1, 2))
        assert torch.allclose(own, correction, atol=1e-6)
        bottom = torch.randn(1, whole.config.channels[-1], 4, 3)
        bottom[:, :, 2:] = 0  # nothing in the upper bands
        context = whole.core.gate_context(bottom.flatten(1, 2))[:, :bands]
        assert torch.allclose(
            lower.core.gate_context(bottom[:, :, :2].flatten(1, 2)), context, atol=1e-6
        )
    shared = whole.state_dict()["core.bottom.0.pointwise.weight"]
    assert torch.equal(lower.state_dict()["core.bottom.0.pointwise.weight"], shared)
