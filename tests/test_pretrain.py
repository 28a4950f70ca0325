"""The start of the 22 kHz network inside the 44 kHz one; what of the corpus is trained on."""

import csv

import numpy as np
import pretrain
import pytest
import soundfile
import torch

from enhancelib.catalogue import list_pieces
from enhancelib.errors import InputError
from enhancelib.model import AudioUNet
from tools.corpus.build import COLUMNS


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


def test_only_what_was_never_coded_is_trained_on(tmp_path):
    corpus = tmp_path / "corpus"
    rows = []
    for split, kind, coded in (
        ("train", "speech", 0),
        ("train", "game", 1),
        ("validation", "band", 0),
        ("validation", "game", 1),
    ):
        path = corpus / split / kind / "somebody" / "one.flac"
        path.parent.mkdir(parents=True)
        soundfile.write(path, np.full((100, 2), 0.1), 44100)
        facts = {"path": path.relative_to(corpus).as_posix(), "kind": kind, "split": split}
        facts |= {"source": f"{split} {kind}", "group": f"{split} {kind}", "once_lossy": coded}
        rows.append(dict.fromkeys(COLUMNS, "") | facts)
    with open(corpus / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for _ in range(2):  # a second time in the same place
        originals = pretrain.never_coded(corpus, tmp_path / "originals")
        pieces = {(piece.split, piece.name) for piece in list_pieces(originals)}
        assert pieces == {
            ("train", "train/speech/somebody/one.flac"),
            ("validation", "validation/band/somebody/one.flac"),
        }
    row = {"piece": "train/speech/somebody/one.flac", "condition": "noise-white-20db"}
    assert pretrain.repeats(row) == pretrain.KINDS["speech"] * pretrain.CONDITIONS["noise"]
    assert pretrain.repeats(row | {"piece": "train/rendered/a/b.flac", "condition": "mp3-64"}) == 1
    with pytest.raises(InputError, match="make corpus first"):
        pretrain.never_coded(tmp_path / "nothing", tmp_path / "originals")
