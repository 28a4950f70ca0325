"""Plots: true levels, one style, units on every axis, files that stay the same."""

import base64
import io
import itertools
import re
import warnings
import xml.etree.ElementTree
from itertools import combinations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas
import pytest
import scipy.signal
from PIL import Image

import enhancelib as el
from enhancelib.errors import InputError
from enhancelib.show import plotting

RATE = 44100


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def sine(frequency_hz: float, *, amplitude: float = 1.0, seconds: float = 0.5) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)[None]


def test_level_of_a_full_scale_sine_is_zero_db_at_its_frequency():
    bin_hz = RATE / 2048
    level = plotting.level_db(sine(100 * bin_hz))
    middle = level[:, level.shape[1] // 2]
    assert np.argmax(middle) == 100
    assert middle.max() == pytest.approx(0, abs=0.01)
    quieter = plotting.level_db(sine(100 * bin_hz, amplitude=0.1))
    assert quieter[:, level.shape[1] // 2].max() == pytest.approx(-20, abs=0.01)


def test_level_agrees_with_scipy():
    wave = np.random.default_rng(1).normal(0, 0.1, (2, 8192)).astype(np.float32)
    window = scipy.signal.get_window("hann", 1024)
    reference = scipy.signal.ShortTimeFFT(window, 256, RATE, scale_to=None)
    spectra = reference.stft(wave, p0=2, p1=30, axis=1)  # frames that lie inside the signal
    power = np.mean(np.abs(spectra * 2 / window.sum()) ** 2, axis=0)
    level = plotting.level_db(wave, frame_length=1024, hop_length=256)
    np.testing.assert_allclose(level[:, 2:30], 10 * np.log10(power), atol=1e-2)


def test_opposite_phases_do_not_cancel_and_silence_is_the_floor():
    tone = sine(1000)
    both = plotting.level_db(np.concatenate([tone, -tone]))
    np.testing.assert_allclose(both, plotting.level_db(tone), atol=1e-3)
    silence = plotting.level_db(np.zeros((1, 500), np.float32))
    np.testing.assert_allclose(silence, plotting.FLOOR_DB, atol=1e-3)


@pytest.mark.parametrize(
    "wave", [np.zeros(10), np.zeros((1, 0)), np.full((1, 10), np.nan), np.zeros((1, 2, 3))]
)
def test_bad_waves_are_refused(wave):
    with pytest.raises(InputError, match="wave"):
        plotting.level_db(wave)


def test_spectrogram_shows_the_tone_at_its_place_and_level():
    image = plotting.spectrogram(sine(11025, amplitude=0.1), sample_rate=RATE, title="tone")
    left, right, bottom, top = image.get_extent()
    assert (left, bottom, top) == (0, 0, RATE / 2000)
    assert right == pytest.approx(0.5, abs=1e-4)
    level = image.get_array()
    row = int(np.argmax(level[:, level.shape[1] // 2]))
    assert row / (level.shape[0] - 1) * top == pytest.approx(11.025, abs=0.03)
    assert image.axes.get_title(loc="left") == "tone"
    assert image.get_clim() == (-100, 0)


def test_difference_is_estimate_minus_reference():
    tone = sine(1000)
    image = plotting.spectrogram_difference(0.1 * tone, tone, sample_rate=RATE)
    assert image.get_array().min() == pytest.approx(-20, abs=0.05)
    with pytest.raises(InputError, match="one shape"):
        plotting.spectrogram_difference(tone[:, 1:], tone, sample_rate=RATE)


@pytest.mark.parametrize("name", [plotting.LEVEL_MAP, plotting.DIFFERENCE_MAP])
def test_level_maps_rise_in_lightness_so_that_grey_print_keeps_order(name):
    red, green, blue, _ = mpl.colormaps[name](np.linspace(0, 1, 64)).T
    assert np.all(np.diff(0.2126 * red + 0.7152 * green + 0.0722 * blue) > 0)


def test_long_titles_of_a_grid_do_not_run_into_each_other():
    names = ["AAC at 64 kbit/s, then SBC at bitpool 20", "white noise at 20 dB", "MP3 at 64 kbit/s"]
    figure = plotting.spectrogram_grid(
        {name: sine(500) for name in names}, sample_rate=RATE, columns=3
    )
    renderer = figure.canvas.get_renderer()
    boxes = [axes._left_title.get_window_extent(renderer) for axes in figure.axes[:3]]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3))])
def test_grid_shows_every_wave_on_one_scale(count, shape):
    waves = {f"wave {index}": sine(500 * (index + 1)) for index in range(count)}
    figure = plotting.spectrogram_grid(waves, sample_rate=RATE)
    shown = [axes for axes in figure.axes if axes.get_images() and axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == list(waves)
    assert len({axes.get_images()[0].get_clim() for axes in shown}) == 1
    spec = shown[0].get_gridspec()
    assert (spec.nrows, spec.ncols) == shape
    assert any(axes.get_ylabel() == "Level (dBFS)" for axes in figure.axes)
    with pytest.raises(InputError, match="at least one"):
        plotting.spectrogram_grid({}, sample_rate=RATE)


def test_series_differ_in_colour_line_and_marker_and_known_systems_look_the_same():
    x = np.arange(5)
    names = ["untreated", "enhanced", "lossless", "peer"]
    axes = plotting.curves(
        {name: (x, x + i) for i, name in enumerate(names)}, x_label="Rate (kbit/s)", y_label="MOS"
    )
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines]
    for aspect in zip(*looks, strict=True):
        assert len(set(aspect)) == len(names)
    alone = plotting.curves({"enhanced": (x, x)}, x_label="x", y_label="y")
    assert alone.lines[0].get_color() == axes.lines[1].get_color()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Rate (kbit/s)", "MOS")


def test_curve_intervals_are_shaded():
    x = np.arange(5.0)
    axes = plotting.curves({"a": (x, x, x - 1, x + 2)}, x_label="x", y_label="y")
    path = axes.collections[0].get_paths()[0].vertices
    assert path[:, 1].min() == -1
    assert path[:, 1].max() == 6


def test_bars_and_intervals_draw_values_and_bounds():
    groups = {"sbc-20": {"untreated": (3.0, 2.5, 3.3), "enhanced": 2.0}, "mp3-64": {"enhanced": 1}}
    axes = plotting.bars(groups, x_label="LSD (dB)")
    drawn = [box for box in axes.containers if isinstance(box, mpl.container.BarContainer)]
    widths = [[bar.get_width() for bar in box] for box in drawn]
    assert widths == [[3.0], [2.0, 1.0]]
    assert {bar.get_hatch() for bar in axes.patches} == {"", "///"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sbc-20", "mp3-64"]

    axes = plotting.intervals({"a": {"s": (0.3, -0.1, 0.7)}}, x_label="Change (MOS)")
    (segment,) = axes.collections[0].get_segments()
    np.testing.assert_allclose(segment[:, 0], [-0.1, 0.7])
    with pytest.raises(InputError, match="low <= value <= high"):
        plotting.intervals({"a": {"s": (0.3, 0.5, 0.7)}}, x_label="x")


def test_slopes_join_each_pair_and_tell_falls_from_rises_without_colour():
    pairs = {"MP3": [(2.0, 3.0), (4.0, 3.5)], "SBC": [(4.0, 3.99)]}
    axes = plotting.slopes(pairs, y_label="ViSQOL (1 to 5)", title="songs")
    assert [tuple(line.get_ydata()) for line in axes.lines] == [(2.0, 3.0), (4.0, 3.5), (4.0, 3.99)]
    assert all(np.diff(line.get_xdata()) > 0 for line in axes.lines)
    groups = [round(np.mean(line.get_xdata())) for line in axes.lines]
    assert groups == [0, 0, 1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["MP3", "SBC"]
    rise, fall, still = ((line.get_color(), line.get_linestyle()) for line in axes.lines)
    assert rise == still
    assert rise[0] != fall[0]
    assert rise[1] != fall[1]


def test_figures_within_a_page_take_its_ink_and_keep_their_letters_as_text():
    axes = plotting.slopes({"MP3": [(2.0, 3.0)]}, y_label="ViSQOL", title="songs & more")
    picture = plotting.spectrogram(sine(5000), sample_rate=RATE, ax=plotting.subplots()[1])
    figures = {'a "slope"': axes.figure, "a tone": picture.figure}
    page = plotting.SideBySide(figures)._repr_html_()
    assert not plt.get_fignums()
    root = xml.etree.ElementTree.fromstring(
        re.sub(r"xlink:href", "href", page).replace(
            ' xmlns:href="http://www.w3.org/1999/xlink"', ""
        )
    )
    drawn = root.findall("{http://www.w3.org/2000/svg}svg")
    assert [each.get("aria-label") for each in drawn] == ['a "slope"', "a tone"]
    assert {each.get("role") for each in drawn} == {"img"}
    words = ["".join(each.itertext()) for each in drawn]
    assert "songs & more" in words[0]
    assert "Frequency (kHz)" in words[1]
    assert not re.search("#1d1d1f|#6e6e73|#d9d9de|#ffffff|<style|font-family", page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)
    (pixels,) = re.findall(r"data:image/webp;base64,([^\"]+)", page)
    image = Image.open(io.BytesIO(base64.b64decode(pixels)))
    rows = np.asarray(image.convert("L"), float).mean(axis=1)
    assert 'transform="scale(1 -1)' in page  # upside down
    assert np.argmax(rows) / len(rows) == pytest.approx(5000 / (RATE / 2), abs=0.02)


def test_a_page_hands_out_the_whole_table_it_has_no_room_for():
    table = pandas.DataFrame({"piece": ["a, b", 'c "d"'], "value": [0.1, -2.0]})
    link = xml.etree.ElementTree.fromstring(el.Download(table, "all & more.csv")._repr_html_())
    assert link.get("download") == "all & more.csv"
    kind, _, data = link.get("href").partition(",")
    assert kind == "data:text/csv;base64"
    pandas.testing.assert_frame_equal(pandas.read_csv(io.BytesIO(base64.b64decode(data))), table)
    assert "2 rows" in link.text


def test_points_are_labelled():
    axes = plotting.points({"ONNX": (1, 2), "TFLite": (3, 4)}, x_label="MB", y_label="ms")
    assert [text.get_text() for text in axes.texts] == ["ONNX", "TFLite"]
    assert [tuple(line.get_xydata()[0]) for line in axes.lines] == [(1, 2), (3, 4)]


def test_labels_of_points_that_lie_together_stay_legible():
    places = {f"file number {k}": (1 + k / 1000, 2 + (k % 2) / 500) for k in range(5)}
    axes = plotting.points(places | {"far": (3, 9)}, x_label="MB", y_label="ms")
    axes.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert axes.texts[-1].get_position() == axes.texts[-1].xyann == (7, 3)  # nothing in its way


def test_saved_figures_are_opaque_white_cards_and_the_same_on_every_run(tmp_path):
    for run in ("first", "second"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            axes = plotting.curves({"a": ([0, 1], [0, 1])}, x_label="x", y_label="y", title="t")
            for name in ("01_curve", "01_curve.png"):
                plotting.save_figure(axes.figure, name, figures_dir=tmp_path / run)
    for name in ("01_curve.svg", "01_curve.png"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    corner = Image.open(tmp_path / "first" / "01_curve.png").convert("RGBA").getpixel((0, 0))
    assert corner == (255, 255, 255, 255)
    with pytest.raises(InputError, match=r"\.svg or \.png"):
        plotting.save_figure(axes.figure, "01_curve.pdf", figures_dir=tmp_path)


def test_drawing_leaves_the_session_untouched_until_asked():
    before = dict(mpl.rcParams)
    plotting.spectrogram(sine(440), sample_rate=RATE)
    assert dict(mpl.rcParams) == before
    with mpl.rc_context():
        plotting.use_style()
        assert mpl.rcParams["axes.titlelocation"] == "left"


def test_the_style_puts_back_its_own_settings_only(monkeypatch):
    """The notebook backend switches "interactive" on with the first figure; it has to stay on."""
    with mpl.rc_context({"interactive": False, "font.size": 7.5}):
        made = plt.subplots
        monkeypatch.setattr(
            plt, "subplots", lambda *a, **k: (mpl.interactive(True), made(*a, **k))[1]
        )
        plotting.subplots()
        assert mpl.is_interactive()
        assert mpl.rcParams["font.size"] == 7.5
