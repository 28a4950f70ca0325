"""Every exported file answers in its own runtime as PyTorch does, and says what it is."""

import json
import sys
import zipfile

import numpy as np
import pytest
from conftest import full_disk

from enhancelib.cli.making import ExportType
from enhancelib.cli.program import ModelType
from enhancelib.enhance import modelfiles
from enhancelib.enhance.modelfiles import open_model
from enhancelib.errors import ConfigError, ModelError
from enhancelib.optimize import export, stamps
from enhancelib.optimize.export import FORMATS, check_music, compare, export_model

FILES = [
    f"small{stream}.{suffix}" for stream in ("", ".stream") for suffix in ("onnx", "tflite", "pt")
]


def by_pytorch(model, wave: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return model(torch.from_numpy(wave)).numpy()


def noise(*shape: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def test_every_format_comes_as_clip_and_stream_and_is_exact(small_exports):
    folder, results = small_exports
    assert {(r.format, r.kind) for r in results} == {
        (name, kind) for name in FORMATS for kind in ("clip", "stream")
    }
    assert sorted(r.path.name for r in results) == sorted(FILES)
    for result in results:
        assert result.error_db < -110  # float32 rounding, far below 16-bit audio
        assert result.bytes == result.path.stat().st_size
        assert result.checked_on == "3 excerpts"
    assert not list(folder.glob(".partial*"))


@pytest.mark.parametrize("name", FILES)
def test_metadata_are_the_same_everywhere(small_exports, small_model, name):
    folder, _ = small_exports
    metadata = open_model(folder / name).metadata
    checkpoint = open_model(folder / "small.safetensors").metadata
    assert metadata == checkpoint
    assert metadata.latency_samples == small_model.latency_samples == 127
    assert (metadata.preset, metadata.sample_rate, metadata.licence) == ("small", 22050, "MIT")
    assert len(metadata.checkpoint_sha256) == 64


def test_seed_onnx_snippet(small_exports, small_model):
    import onnxruntime as ort

    session = ort.InferenceSession(small_exports[0] / "small.onnx")
    input_data = np.random.randn(1, 1, 22050 * 3).astype(np.float32)  # noqa: NPY002 - as printed
    output = session.run(None, {"input": input_data})
    assert output[0].shape == (1, 1, 66150)
    np.testing.assert_allclose(output[0], by_pytorch(small_model, input_data), atol=1e-4)


def test_seed_tflite_snippet_without_tensorflow(small_exports, small_model):
    """The same calls as in the seed; ai_edge_litert's Interpreter is tf.lite's successor."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(small_exports[0] / "small.tflite"))
    interpreter.allocate_tensors()
    input_details = interpreter.get_input_details()
    output_details = interpreter.get_output_details()
    input_data = noise(1, 1, 66150)
    interpreter.set_tensor(input_details[0]["index"], input_data)
    interpreter.invoke()
    output = interpreter.get_tensor(output_details[0]["index"])
    assert (input_details[0]["name"], output_details[0]["name"]) == ("input", "output")
    np.testing.assert_allclose(output, by_pytorch(small_model, input_data), atol=2e-6)


@pytest.mark.parametrize("suffix", ["onnx", "pt"])
@pytest.mark.parametrize("samples", [1, 2, 63, 64, 65, 1000, 70001])
def test_clip_takes_any_length(small_exports, small_model, suffix, samples):
    backend = open_model(small_exports[0] / f"small.{suffix}")
    wave = noise(2, samples)
    wanted = by_pytorch(small_model, wave[:, None])[:, 0]
    np.testing.assert_allclose(backend.run_clip(wave), wanted, atol=2e-6)


def test_tflite_clip_takes_three_seconds_and_less(small_exports, small_model):
    backend = open_model(small_exports[0] / "small.tflite")
    assert backend.clip_samples == 66150
    wave = noise(2, 5000)
    wanted = by_pytorch(small_model, wave[:, None])[:, 0]
    np.testing.assert_allclose(backend.run_clip(wave), wanted, atol=2e-6)
    with pytest.raises(ValueError, match="66150"):
        backend.run_clip(noise(1, 66151))


@pytest.mark.parametrize("suffix", ["onnx", "tflite", "pt"])
def test_a_stream_file_says_that_it_takes_no_clips(small_exports, suffix):
    with pytest.raises(ModelError, match="holds the streaming step"):
        open_model(small_exports[0] / f"small.stream.{suffix}").run_clip(noise(1, 100))


def test_onnx_names_opset_checker_and_no_source_paths(small_exports):
    import onnx

    for name, inputs in (("small.onnx", 1), ("small.stream.onnx", 9)):
        path = small_exports[0] / name
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]
        assert len(model.graph.input) == inputs
        assert b"enhancelib/" not in path.read_bytes()  # source paths of the exporter
    names = [value.name for value in model.graph.input]
    assert names == ["spectrum", *(f"state_{i}" for i in range(8))]
    outputs = [value.name for value in model.graph.output]
    assert outputs == ["spectrum_out", *(f"state_out_{i}" for i in range(8))]


@pytest.mark.parametrize("name", ["small.onnx", "small.stream.onnx"])
def test_a_stream_computes_no_shape_that_is_known(small_exports, name):
    """Each such operation costs a frame as much as one of arithmetic."""
    import onnx

    graph = onnx.load(small_exports[0] / name).graph
    tables = {table.name for table in graph.initializer}
    reshapes = [node for node in graph.node if node.op_type == "Reshape"]
    assert reshapes
    computed = [node.name for node in reshapes if node.input[1] not in tables]
    if ".stream." in name:
        assert computed == []
    used = {value.name for value in graph.output}.union(*(node.input for node in graph.node))
    assert all(used.intersection(node.output) for node in graph.node)
    assert tables <= used


def test_an_unknown_opset_is_refused(small_exports, tmp_path):
    import onnx

    content = onnx.load(small_exports[0] / "small.stream.onnx")
    content.opset_import[0].version = 999
    onnx.save(content, tmp_path / "future.stream.onnx")
    with pytest.raises(ModelError, match=r"future\.stream\.onnx: .*opset") as caught:
        open_model(tmp_path / "future.stream.onnx")
    assert "\n" not in str(caught.value)


def test_a_stream_file_of_one_frame_at_a_time_is_refused(small_exports, tmp_path):
    """Files of before had no axis of frames."""
    import onnx

    old = onnx.load(small_exports[0] / "small.stream.onnx")
    shape = [1, 65, 2]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in ("spectrum", "spectrum_out")
    ]
    node = onnx.helper.make_node("Identity", ["spectrum"], ["spectrum_out"])
    old.graph.CopyFrom(onnx.helper.make_graph([node], "old", ends[:1], ends[1:]))
    onnx.save(old, tmp_path / "old.stream.onnx")
    with pytest.raises(
        ModelError, match=r"old\.stream\.onnx: made for one frame .* export it again"
    ):
        open_model(tmp_path / "old.stream.onnx")


@pytest.mark.parametrize("suffix", ["onnx", "tflite", "pt"])
def test_frames_together_equal_frames_one_by_one(small_exports, suffix):
    backend = open_model(small_exports[0] / f"small.stream.{suffix}")
    shape = (2, 9, backend.metadata.hop_length + 1, 2)
    spectra = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    together, kept = backend.step(spectra, backend.initial_state(2))
    states, one_by_one = backend.initial_state(2), []
    for k in range(shape[1]):
        frame, states = backend.step(spectra[:, k : k + 1].copy(), states)
        one_by_one.append(frame)
    np.testing.assert_allclose(np.concatenate(one_by_one, axis=1), together, atol=1e-4)
    for one, other in zip(kept, states, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_tflite_names_by_signature(small_exports):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(small_exports[0] / "small.stream.tflite"))
    (signature,) = interpreter.get_signature_list().values()
    assert set(signature["inputs"]) == {"spectrum", *(f"state_{i}" for i in range(8))}
    assert set(signature["outputs"]) == {"spectrum_out", *(f"state_out_{i}" for i in range(8))}


def test_torchscript_metadata_can_be_read_without_pytorch(small_exports):
    with zipfile.ZipFile(small_exports[0] / "small.pt") as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("extra/enhancelib")]
        assert json.loads(archive.read(name))["sample_rate"] == "22050"


def test_existing_files_are_refused_and_nothing_is_touched(small_exports, small_model):
    path = small_exports[0] / "small.pt"
    before = path.read_bytes()
    with pytest.raises(ModelError, match=r"small\.pt: exists"):
        export_model(small_model, small_exports[0], preset="small", formats=["torchscript"])
    assert path.read_bytes() == before


def test_a_file_that_deviates_is_not_written(small_model, tmp_path, monkeypatch):
    def detuned(model, kind, path):
        import copy

        from enhancelib.optimize.export import _write_torchscript

        other = copy.deepcopy(model)
        other.core.head.bias.data += 0.05
        _write_torchscript(other, kind, path)

    monkeypatch.setitem(export._WRITERS, "torchscript", detuned)
    with pytest.raises(ModelError, match=r"small\.pt: not written") as caught:
        export_model(small_model, tmp_path, preset="small", formats=["torchscript"])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tflite", "torchscript"])
def test_a_full_disk_is_named_and_leaves_nothing(small_model, tmp_path, name):
    """The converters' own writers end the process or raise errors that only they know."""
    with (
        full_disk(5000),
        pytest.raises(ModelError, match=r"small\.pt: cannot be written \(File too large\)"),
        export.model_file(tmp_path / "small.pt") as partial,
    ):
        export._WRITERS[name](small_model, "stream", partial)
    assert list(tmp_path.iterdir()) == []


def test_every_format_has_all_its_parts():
    """What writes it, converts to it, says what it is, opens it, and where the command lists it."""
    assert set(FORMATS) == set(export._WRITERS) == set(export._CONVERTERS)
    assert set(FORMATS) == {kind.value for kind in ExportType}
    types = set(FORMATS) | {"pytorch"}
    assert set(modelfiles.SUFFIXES) == set(modelfiles._BACKENDS) == types
    assert sorted(modelfiles.DEFAULT_ORDER) == sorted(types)
    assert {kind.value for kind in ModelType} == types
    assert set(stamps.STAMPS) == {modelfiles.SUFFIXES[name][0] for name in FORMATS}


def test_unknown_formats_are_refused(small_model, tmp_path):
    with pytest.raises(ConfigError, match="tape"):
        export_model(small_model, tmp_path, preset="small", formats=["tape"])
    with pytest.raises(ConfigError, match="half"):
        export_model(small_model, tmp_path, preset="small", kinds=["half"])


def test_a_kind_is_no_format_and_a_format_no_kind(small_model, tmp_path):
    with pytest.raises(ConfigError, match="'clip' is none of onnx, tflite, torchscript"):
        export_model(small_model, tmp_path, preset="small", formats=["clip"])
    with pytest.raises(ConfigError, match="'onnx' is none of clip, stream"):
        export_model(small_model, tmp_path, preset="small", kinds=["onnx"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "package"), [("onnx", "onnxscript"), ("tflite", "litert_torch")])
def test_without_its_converter_a_format_is_refused_before_anything_is_written(
    small_model, tmp_path, monkeypatch, name, package
):
    monkeypatch.setitem(sys.modules, package, None)
    folder = tmp_path / "exports"
    with pytest.raises(ModelError, match=f"{name}: .*{package}.*requirements.lock") as caught:
        export_model(small_model, folder, preset="small")
    assert "\n" not in str(caught.value)
    assert not folder.exists()


def test_compare_measures_the_difference(small_exports, small_model):
    """Against PyTorch's output scaled by 0.9 the error is 10 log10(0.01) = -20 dB."""
    import torch

    class Quieter(torch.nn.Module):
        def forward(self, wave):
            return small_model(wave) / 0.9

    error_db = compare(small_exports[0] / "small.onnx", Quieter(), [noise(1, 4000)])
    assert error_db == pytest.approx(-20, abs=0.01)


def test_music_to_check_on(tmp_path):
    clips, name = check_music(44100)
    assert name == "3 excerpts"
    assert [clip.shape for clip in clips] == [(1, 132300)] * 3
    assert all(np.abs(clip).max() > 0.01 for clip in clips)
    clips, name = check_music(22050, folder=tmp_path / "none")
    assert name == "synthetic chord"
    assert clips[0].shape == (1, 66150)
    assert 0.3 < np.abs(clips[0]).max() < 1


def test_files_of_the_same_checkpoint_are_copied_and_checked(
    small_exports, small_model, tmp_path, monkeypatch
):
    folder, _ = small_exports
    sha256 = open_model(folder / "small.onnx").metadata.checkpoint_sha256
    facts = {"preset": "small", "checkpoint_sha256": sha256, "ready": folder}
    monkeypatch.setattr(export, "_check_converters", lambda formats: asked.append([*formats]))
    monkeypatch.setitem(export._WRITERS, "onnx", None)
    monkeypatch.setitem(export._WRITERS, "tflite", None)
    asked = []
    results = export_model(small_model, tmp_path, formats=("onnx", "tflite"), **facts)
    assert asked == [[]]  # what converts need not be installed
    assert len(results) == 4
    for result in results:
        assert result.error_db < -110
        assert result.path.read_bytes() == (folder / result.path.name).read_bytes()


@pytest.mark.parametrize("sha256", ["", "0" * 64])
def test_files_of_another_checkpoint_are_not(small_exports, small_model, tmp_path, sha256):
    facts = {"preset": "small", "checkpoint_sha256": sha256, "ready": small_exports[0]}
    (result,) = export_model(
        small_model, tmp_path, formats=["torchscript"], kinds=["clip"], **facts
    )
    assert open_model(result.path).metadata.checkpoint_sha256 == sha256
    assert result.path.read_bytes() != (small_exports[0] / "small.pt").read_bytes()
