"""Players and blind tests: fair gains, true statistics, lossless audio in the page."""

import base64
import io
import json
import math
import re

import numpy as np
import pyloudnorm
import pytest
import scipy.stats
import soundfile

import enhancelib as el
from enhancelib.audio.loudness import loudness_lufs, matched_gains_db, safe_gains_db, true_peak_db
from enhancelib.errors import InputError
from enhancelib.show.listening import low_anchor
from enhancelib.show.listening_tests import abx_share

RATE = 44100


def noise(seed: int = 0, *, level: float = 0.1, seconds: float = 1.0, channels: int = 2):
    size = (channels, int(seconds * RATE))
    return np.random.default_rng(seed).normal(0, level, size).astype(np.float32)


def spec_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])


# Loudness


def test_matched_waves_are_equally_loud_by_pyloudnorm_and_none_clips():
    clipped = np.clip(noise(2, level=0.9), -1, 1)
    waves = [noise(0, level=0.05), noise(1, level=0.2), clipped]
    gains = matched_gains_db(waves, sample_rate=RATE)
    heard = [wave * 10 ** (gain / 20) for wave, gain in zip(waves, gains, strict=True)]
    meter = pyloudnorm.Meter(RATE)
    loudness = [meter.integrated_loudness(wave.T.astype(float)) for wave in heard]
    assert np.ptp(loudness) < 0.01
    assert max(true_peak_db(wave) for wave in heard) <= -0.09


def test_the_first_wave_keeps_its_level_where_nothing_would_clip():
    gains = matched_gains_db([noise(0), noise(0) * 0.5], sample_rate=RATE)
    assert gains == pytest.approx([0, 20 * math.log10(2)], abs=1e-3)


def test_a_quiet_first_wave_is_raised_no_further_than_headroom_allows():
    gains = matched_gains_db([noise(0, level=0.3), 0.1 * noise(1, level=0.3)], sample_rate=RATE)
    assert gains[0] < 0  # white noise at -10 dBFS peaks beyond full scale
    assert gains[1] - gains[0] == pytest.approx(15)  # 20 dB would be needed, 15 is the limit


def test_true_peak_between_samples_is_found():
    time = np.arange(RATE)
    wave = np.sin(np.pi / 2 * time + np.pi / 4)[None].astype(np.float32)  # samples at ±0.707
    assert np.abs(wave).max() == pytest.approx(0.7071, abs=1e-3)
    assert true_peak_db(wave[:, 100:-100]) == pytest.approx(0, abs=0.2)


def test_short_and_silent_waves_have_a_loudness():
    wave = noise(level=0.1, seconds=2)
    short = loudness_lufs(wave[:, : RATE // 10], sample_rate=RATE)
    assert short == pytest.approx(loudness_lufs(wave, sample_rate=RATE), abs=0.5)
    assert loudness_lufs(np.zeros((1, 100), np.float32), sample_rate=RATE) == -math.inf
    silence = np.zeros_like(wave)
    assert matched_gains_db([silence, wave], sample_rate=RATE)[0] == 0
    assert safe_gains_db([silence, 2 * wave / np.abs(wave).max()])[0] < -6


# Python side of the player


def test_note_tells_the_loudness_and_who_falls_short_of_it():
    wave = noise(level=0.02)
    player = el.Player({"a": wave, "b": wave / 100}, sample_rate=RATE)
    note = spec_of(player.html())["note"]
    level = pyloudnorm.Meter(RATE).integrated_loudness(wave.T.astype(float))
    assert note == f"Loudness matched to −{-level:.1f} LUFS; b raised by no more than 15 dB."
    assert player.gains_db["b"] == pytest.approx(15)


def test_page_holds_each_source_bit_for_bit():
    wave = np.round(noise() * 32768).astype(np.float32) / 32768
    player = el.Player({"a": wave, "b": wave / 2}, sample_rate=RATE, title="t")
    sources = spec_of(player.html())["sources"]
    audio, rate = soundfile.read(io.BytesIO(base64.b64decode(sources[0]["audio"])), dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(audio.T, wave)
    assert [source["gainDb"] for source in sources] == list(player.gains_db.values())
    assert player.gains_db["b"] == pytest.approx(6.02, abs=0.01)


def test_the_first_bytes_of_a_clip_are_a_file_under_their_own_header(tmp_path):
    wave = np.round(noise(level=0.05, seconds=6) * 32768).astype(np.float32) / 32768
    player = el.Player({"a": wave}, sample_rate=RATE, loudness_match=False, audio_dir=tmp_path)
    (source,) = spec_of(player.html())["sources"]
    whole = (tmp_path / source["url"].split("/")[-1]).read_bytes()
    assert len(whole) == source["bytes"]
    lengths = []
    for head in source["heads"]:
        header = base64.b64decode(head["header"])
        part = header + whole[len(header) : head["bytes"]]
        audio, _ = soundfile.read(io.BytesIO(part), dtype="float32")
        np.testing.assert_array_equal(audio.T, wave[:, : len(audio)])
        lengths.append(len(audio) / RATE)
    assert lengths == pytest.approx([1.5, 2.25, 3.375], abs=0.1)


def test_practice_of_a_blind_test_is_a_third_source():
    wave = noise(seconds=0.1)
    test = el.ABX(wave, wave / 2, sample_rate=RATE, practice=wave / 4)
    spec = spec_of(test.html())
    assert (spec["practice"], len(spec["sources"])) == (2, 3)
    assert spec_of(el.ABX(wave, wave / 2, sample_rate=RATE).html())["practice"] == 0
    with pytest.raises(InputError, match="the practice is"):
        el.ABX(wave, wave, sample_rate=RATE, names=("a", "a plain case"), practice=wave)


def test_samples_beyond_full_scale_are_scaled_for_storage_and_heard_at_their_level():
    wave = noise(level=0.5)
    assert np.abs(wave).max() > 1.5
    player = el.Player({"a": wave}, sample_rate=RATE, loudness_match=False)
    (source,) = spec_of(player.html())["sources"]
    audio, _ = soundfile.read(io.BytesIO(base64.b64decode(source["audio"])))
    heard = audio.T * 10 ** (source["gainDb"] / 20)
    np.testing.assert_allclose(heard, wave * 10 ** (player.gains_db["a"] / 20), atol=1e-4)
    assert np.abs(heard).max() < 1


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({}, "at least one"),
        ({"a": np.zeros(100, np.float32)}, "'a' must be"),
        ({"a": np.zeros((3, 100), np.float32)}, "'a' must be"),
        ({"a": np.zeros((1, 0), np.float32)}, "'a' must be"),
        ({"a": np.zeros((1, 100), np.int16)}, "floating point"),
        ({"a": np.full((1, 100), np.nan, np.float32)}, "NaN"),
        ({"a": np.zeros((1, 100), "f4"), "b": np.zeros((1, 99), "f4")}, "'b' is .* but 'a' is"),
        ({"a": np.zeros((1, 100), "f4"), "b": np.zeros((2, 100), "f4")}, "'b' is .* but 'a' is"),
    ],
)
def test_unusable_sources_are_refused_in_one_line(sources, message):
    with pytest.raises(InputError, match=message) as caught:
        el.Player(sources, sample_rate=RATE)
    assert "\n" not in str(caught.value)


def test_other_bad_arguments_are_refused():
    wave = noise(seconds=0.1)
    with pytest.raises(InputError, match="resample"):
        el.Player({"a": wave}, sample_rate=1000)
    with pytest.raises(InputError, match="'lossless' is none of the sources"):
        el.Player({"a": wave}, sample_rate=RATE, reference="lossless")
    with pytest.raises(InputError, match="trials: 0 is not a whole number between 1 and 1000"):
        el.ABX(wave, wave, sample_rate=RATE, trials=0)
    with pytest.raises(InputError, match="different names"):
        el.ABX(wave, wave, sample_rate=RATE, names=("x", "x"))


@pytest.mark.parametrize("rate", [np.int64(RATE), float(RATE)])
def test_a_rate_of_any_type_of_number_is_shown_as_a_whole_one(rate, tmp_path):
    wave = noise(seconds=0.1)

    def shown(rate):
        yield el.Player({"original": wave, "b": wave / 2}, sample_rate=rate)
        yield el.Player({"a": wave}, sample_rate=rate, audio_dir=tmp_path)
        yield el.MUSHRA({"a": wave / 2}, wave, sample_rate=rate)
        yield el.ABX(wave, wave / 2, sample_rate=rate)

    for given, whole in zip(shown(rate), shown(RATE), strict=True):
        assert given._repr_mimebundle_()[0]["text/html"] == whole.html()


def test_notebook_output_has_widget_twin_and_text_and_titles_cannot_break_the_page():
    title = '</script><b>&"quoted"'
    player = el.Player({"<a>": noise(seconds=0.1)}, sample_rate=RATE, title=title)
    data, _ = player._repr_mimebundle_()
    assert {"text/html", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(data)
    assert data["text/html"].count("</script>") == 2  # that of the data and that of the code
    assert spec_of(data["text/html"])["title"] == title
    assert data["text/html"] == player.html()  # nothing random: outputs can be compared
    assert player.widget() is player.widget()
    assert data["text/plain"] == "Player(<a>; 0.1 s)"


def test_a_gallery_holds_its_players_under_their_tabs_and_refuses_what_it_cannot_show():
    players = {"A <song>": el.Player({"a": noise(seconds=0.1)}, sample_rate=RATE, title="t")}
    html = el.Gallery(players, notes={"A <song>": "Listen & hear"}, title="Pieces").html()
    assert players["A <song>"].html() in html
    assert 'data-tab="A &lt;song&gt;"' in html
    assert "Listen &amp; hear" in html
    with pytest.raises(InputError, match="at least one player"):
        el.Gallery({})
    with pytest.raises(InputError, match="'another' belongs to none"):
        el.Gallery(players, notes={"another": "x"})


def test_audio_dir_moves_audio_pictures_and_code_to_shared_files(tmp_path, monkeypatch):
    folder = tmp_path / "audio"
    monkeypatch.setenv("ENHANCELIB_AUDIO_DIR", str(folder))
    wave = noise()
    players = [
        el.Player({"a": wave, "b": wave}, sample_rate=RATE, title=str(number)) for number in (1, 2)
    ]
    bundles = [player._repr_mimebundle_()[0] for player in players]
    assert all(set(data) == {"text/html", "text/plain"} for data in bundles)
    assert max(len(data["text/html"]) for data in bundles) < 6000
    assert sorted(path.suffix for path in folder.iterdir()) == [".css", ".flac", ".mjs", ".webp"]
    source = spec_of(bundles[0]["text/html"])["sources"][0]
    path = tmp_path / source["url"]
    assert path.stat().st_size == source["bytes"]
    audio, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_allclose(audio.T, wave, atol=2**-15)


# Statistics of a blind test


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (5, 10), (9, 10), (12, 16), (16, 16)])
def test_abx_p_value_is_the_binomial_tail(hits, trials):
    result = el.abx_result([True] * hits + [False] * (trials - hits))
    tail = sum(math.comb(trials, k) for k in range(hits, trials + 1)) / 2**trials
    assert (result.hits, result.trials) == (hits, trials)
    assert result.p_value == pytest.approx(tail, rel=1e-9)
    low, high = result.interval
    if hits:
        assert scipy.stats.binom.sf(hits - 1, trials, low) == pytest.approx(0.025, rel=1e-4)
    if hits < trials:
        assert scipy.stats.binom.cdf(hits, trials, high) == pytest.approx(0.025, rel=1e-4)


@pytest.mark.parametrize("d_prime", [0.0, 1.0, 2.5])
def test_abx_share_agrees_with_simulated_listeners(d_prime):
    """The listener tells which of A and B is the stronger, and on which side of their mean X is."""
    random = np.random.default_rng(7)
    trials = 200_000
    b_is_stronger = random.integers(0, 2, trials)
    x_is_b = random.integers(0, 2, trials)
    a = random.normal(d_prime * (1 - b_is_stronger))
    b = random.normal(d_prime * b_is_stronger)
    x = random.normal(d_prime * (x_is_b == b_is_stronger))
    answers_b = (x > d_prime / 2) == (b > a)
    assert np.mean(answers_b == x_is_b) == pytest.approx(abx_share(d_prime), abs=0.004)


def test_detectable_d_prime_is_found_in_80_percent_of_simulated_tests():
    result = el.abx_result([True] * 12 + [False] * 8)
    random = np.random.default_rng(3)
    hits = random.binomial(20, abx_share(result.detectable_d_prime), 20_000)
    p_values = scipy.stats.binom.sf(hits - 1, 20, 0.5)
    assert np.mean(p_values <= 0.05) == pytest.approx(0.8, abs=0.01)
    longer = el.abx_result([True] * 60 + [False] * 40)
    assert longer.detectable_d_prime < result.detectable_d_prime
    assert el.abx_result([True] * 4).detectable_d_prime == math.inf  # 1/16 is no proof


def test_simulated_guessers_are_rarely_convicted_and_golden_ears_always():
    random = np.random.default_rng(11)
    guessers = [el.abx_result(random.integers(0, 2, 16).astype(bool)) for _ in range(400)]
    false_alarms = np.mean([result.p_value <= 0.05 for result in guessers])
    expected = scipy.stats.binom.sf(11, 16, 0.5)  # 12 of 16 are needed
    assert false_alarms == pytest.approx(expected, abs=3 * math.sqrt(expected / 400))
    golden = el.abx_result([True] * 16)
    assert golden.p_value == 2**-16
    assert golden.d_prime == math.inf
    assert el.abx_result([True, False]).d_prime == 0


def test_d_prime_inverts_the_share():
    result = el.abx_result([True] * 75 + [False] * 25)
    assert abx_share(result.d_prime) == pytest.approx(0.75, abs=1e-9)


def test_abx_csv_is_read_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "abx.csv"
    path.write_text("trial,x,answer,correct\n1,A,A,1\n2,B,A,0\n3,B,B,1\n")
    assert (el.abx_result(path).hits, el.abx_result(str(path)).trials) == (2, 3)
    path.write_text("trial,x\n1,A\n")
    with pytest.raises(InputError, match="line 2"):
        el.abx_result(path)
    with pytest.raises(InputError, match=r"none\.csv"):
        el.abx_result(tmp_path / "none.csv")
    with pytest.raises(InputError, match="at least one"):
        el.abx_result([])


# Ratings


def test_low_anchor_meets_the_mask_of_bs_1534_and_has_no_delay():
    impulse = np.zeros((1, RATE), np.float32)
    impulse[0, RATE // 2] = 1
    anchor = low_anchor(impulse, sample_rate=RATE)
    assert np.argmax(np.abs(anchor)) == RATE // 2
    gain_db = 20 * np.log10(np.abs(np.fft.rfft(anchor[0])) + 1e-12)  # one bin is one Hz
    assert np.abs(gain_db[:3500]).max() < 0.1
    assert gain_db[4000:].max() < -25
    assert gain_db[4500:].max() < -50
    with pytest.raises(InputError, match="9000 Hz"):
        low_anchor(impulse, sample_rate=8000)


def test_mushra_page_holds_reference_systems_and_anchor():
    wave = noise(seconds=0.5)
    page = el.MUSHRA({"aac": wave / 2, "enhanced": wave}, wave, sample_rate=RATE, title="Piece")
    names = [source["name"] for source in spec_of(page.html())["sources"]]
    assert names == ["reference", "aac", "enhanced", "low anchor"]
    with pytest.raises(InputError, match="'low anchor' itself"):
        el.MUSHRA({"low anchor": wave}, wave, sample_rate=RATE)
    with pytest.raises(InputError, match="'aac' is"):
        el.MUSHRA({"aac": wave[:, 1:]}, wave, sample_rate=RATE)


def rating(session, title, system, score):
    return {"session": session, "title": title, "system": system, "score": score}


TRUTH = {"reference": 98, "enhanced": 75, "aac": 55, "low anchor": 20}


def panel(random, listeners, pieces, *, bias=8.0, noise=3.0):
    """Listeners who each rate everything but the reference higher or lower than others do."""
    rows = []
    for listener in range(listeners):
        own = random.normal(0, bias)
        for piece in range(pieces):
            for system, mean in TRUTH.items():
                level = mean if system == "reference" else mean + own
                score = float(np.clip(random.normal(level, noise), 0, 100))
                rows.append(rating(f"s{listener}", f"piece {piece}", system, score))
    return rows


def test_mushra_counts_each_listener_once():
    rows = panel(np.random.default_rng(2), 6, 4, noise=1)
    careless = [rating("x", "piece 0", system, 50.0) for system in TRUTH]
    result = el.mushra_result(rows + careless)
    assert result.excluded == ("x",)
    assert (result.listeners, result.ratings) == (6, 24)
    assert list(result.scores) == ["reference", "enhanced", "aac", "low anchor"]
    aac = np.reshape([row["score"] for row in rows if row["system"] == "aac"], (6, 4)).mean(axis=1)
    theirs = scipy.stats.ttest_1samp(aac, 0).confidence_interval()
    assert result.scores["aac"] == pytest.approx((aac.mean(), theirs.low, theirs.high))


def test_mushra_intervals_hold_the_truth_although_listeners_have_a_bias_of_their_own():
    """Eight listeners, five pieces: over ratings, as if independent, 63 % of intervals do."""
    random = np.random.default_rng(4)
    held, pooled = [], []
    for _ in range(400):
        rows = panel(random, 8, 5)
        _, low, high = el.mushra_result(rows).scores["aac"]
        held.append(low < TRUTH["aac"] < high)
        scores = [row["score"] for row in rows if row["system"] == "aac"]
        alike = scipy.stats.ttest_1samp(scores, 0).confidence_interval()
        pooled.append(alike.low < TRUTH["aac"] < alike.high)
    assert 0.92 < np.mean(held) < 0.98
    assert np.mean(pooled) < 0.75


def test_mushra_single_rating_has_no_interval_and_bad_ratings_are_refused(tmp_path):
    rows = [rating("s", "one", "reference", 100), rating("s", "one", "aac", 40)]
    assert el.mushra_result(rows).scores["aac"] == (40, 0, 100)
    path = tmp_path / "m.csv"
    path.write_text("session,title,system,score\ns,one,reference,95\ns,one,aac,30\n")
    assert el.mushra_result([path]).scores["aac"][0] == 30
    cases = {
        "at least one": [],
        "no listener": [rating("s", "one", "reference", 20)],
        "between 0 and 100": [rating("s", "one", "aac", 101)],
        "lacks": [{"session": "s"}],
        "same systems": [*rows, rating("s", "two", "reference", 100)],
        r"none\.csv": [tmp_path / "none.csv"],
    }
    for message, answers in cases.items():
        with pytest.raises(InputError, match=message):
            el.mushra_result(answers)
