"""Condition names: read, written back, and refused with the legal ones named."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from enhancelib.degrade.codecs import (
    CODECS,
    CONDITIONS,
    degrade,
    parse_condition,
    resolve,
    standard_conditions,
)
from enhancelib.degrade.conditions import (
    Clipping,
    Coding,
    Condition,
    Congestion,
    Loss,
    Noise,
    OldRecording,
    Resampling,
    condition_title,
)
from enhancelib.degrade.degradations import NOISE_COLORS
from enhancelib.errors import InputError

tenths = st.integers(1, 500).map(lambda n: n / 10)


@st.composite
def codings(draw):
    codec = CODECS[draw(st.sampled_from(sorted(CODECS)))]
    variant = draw(st.sampled_from([None, *codec.variants]))
    rate = draw(st.sampled_from(codec.rates))
    legal = codec.variant(variant).settings(rate, max(codec.channels))
    loss = st.builds(Loss, percent=tenths, burst=st.integers(1, 20).map(float))
    return Coding(
        codec=codec.name,
        setting=draw(st.sampled_from(legal)) if legal else None,
        variant=variant,
        congestion=draw(st.none() | st.builds(Congestion, percent=tenths))
        if codec.name == "sbc"
        else None,
        loss=draw(st.none() | loss) if codec.conceals else None,
        rate_hz=rate,
    )


steps = st.one_of(
    codings(),
    st.builds(Resampling, direction=st.sampled_from(["down", "up"]), rate_hz=st.integers(1, 10**6)),
    st.builds(
        Noise,
        color=st.sampled_from(NOISE_COLORS),
        snr_db=st.integers(-200, 400).map(lambda n: n / 10),
    ),
    st.builds(Clipping, drive_db=tenths),
    st.just(OldRecording()),
)


@given(st.lists(steps, max_size=4).map(lambda s: Condition(steps=tuple(s))))
def test_a_name_read_back_is_the_condition(condition):
    assert parse_condition(condition.name) == condition
    assert not set(condition.name) & set("/\\ :*?\"'")  # it stands in file names


@pytest.mark.parametrize("name", CONDITIONS)
def test_default_names_are_canonical(name):
    assert parse_condition(name).name == name


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        (" SBC-53 ", "sbc-53"),
        ("lossless+mp3-64", "mp3-64"),
        ("lossless", "lossless"),
        ("noise-pink-20.0db", "noise-pink-20db"),
        ("sbc-53-loss-5.0pct-burst-2", "sbc-53-loss-5pct"),
        ("sbc-035", "sbc-35"),
        ("SBC-38-Dual", "sbc-38-dual"),
        ("mp3-064-q9", "mp3-64-q9"),
    ],
)
def test_spellings_of_one_condition_have_one_name(name, canonical):
    assert parse_condition(name).name == canonical


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "lossless, down-16000hz"),
        ("wma-64", ", ".join(CODECS)),
        ("mp3-64+", "is unknown"),
        ("mp3-63", "56, 64, 80"),
        ("mp3-16@44100hz", "32, 40"),
        ("mp3-64@44000hz", "44100 or 48000 Hz"),
        ("sbc", "no setting is not legal.*2 to 86"),
        ("sbc-251", "2 to 86"),
        ("opus-64@44100hz", "48000 Hz"),
        ("sbc-129-dual", "bitpool per channel 2 to 54"),
        ("mp3-64-fast", "no variant 'fast'; it has q0, q2, q5, q9, lr"),
        ("opus-64-lr", "no variant 'lr'; it has none"),
        ("aac-64-q9", "it has fast, nopns, lr"),
        ("aptx-352", "aptx alone"),
        ("aac-64-loss-5pct", "only of sbc, msbc, lc3"),
        ("aptx-adaptive-5pct", "only sbc adapts"),
        ("sbc-53-loss-0pct", "above 0 to 50"),
        ("sbc-53-loss-51pct", "above 0 to 50"),
        ("sbc-53-loss-5pct-burst-0.5", "at least 1 packet"),
        ("noise-grey-20db", "white, pink, brown, blue, violet, hum"),
        ("noise-white", "is unknown"),
        ("clip--6db", "is unknown"),
        ("down-0hz", "whole Hz"),
        ("mp3-64@0hz", "whole Hz"),
        ("noise-white-9999db", "between -200 and 200"),
        ("noise-white--9999db", "between -200 and 200"),
        ("clip-1000000db", "between 0 and 200"),
    ],
)
def test_what_is_unknown_or_illegal_is_refused_with_what_is_not(name, words):
    with pytest.raises(InputError, match=words) as caught:
        parse_condition(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "rate", "resolved"),
    [
        ("opus-64", 44100, "opus-64@48000hz"),
        ("opus-64", 48000, "opus-64"),
        ("opus-64@48000hz", 48000, "opus-64"),
        ("mp3-64@22050hz", 44100, "mp3-64@22050hz"),
        ("aac-64+sbc-20", 44100, "aac-64+sbc-20"),
        ("aac-64+sbc-20", 96000, "aac-64+sbc-20@48000hz"),
        ("sbc-20", 22050, "sbc-20@44100hz"),
        ("sbc-38-dual-loss-5pct", 22050, "sbc-38-dual-loss-5pct@44100hz"),
        ("msbc-loss-3pct", 44100, "msbc-loss-3pct@16000hz"),
        ("down-16000hz+clip-6db", 44100, "down-16000hz+clip-6db"),
    ],
)
def test_resolved_names_state_every_rate_conversion(name, rate, resolved):
    assert resolve(name, sample_rate=rate) == resolved
    assert resolve(resolved, sample_rate=rate) == resolved


def test_default_conditions_suit_the_rate():
    assert standard_conditions() == CONDITIONS
    assert "down-22050hz" not in standard_conditions(sample_rate=22050)
    assert "down-16000hz" in standard_conditions(sample_rate=22050)


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 32000, 44100, 48000, 96000])
def test_default_conditions_are_those_that_the_rate_allows(rate):
    wave = np.zeros((2, 100), np.float32)
    allowed = []
    for name in CONDITIONS:
        with contextlib.suppress(InputError):
            degrade(wave, name, sample_rate=rate)
            allowed.append(name)
    lowering = [name for name in allowed if name.startswith("down-")]
    idle = {name for name in lowering if int(name[5:-2]) >= rate}
    assert list(standard_conditions(sample_rate=rate)) == [n for n in allowed if n not in idle]


def test_conditions_are_frozen_and_closed():
    condition = parse_condition("sbc-53")
    with pytest.raises(ValidationError):
        condition.steps = ()
    with pytest.raises(ValidationError):
        Coding(codec="sbc", setting=53, bitpool=3)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("lossless", "lossless"),
        ("mp3-64", "MP3 at 64 kbit/s"),
        ("mp3-24@22050hz", "MP3 at 24 kbit/s, coded at 22.05 kHz"),
        ("aac-64+sbc-20", "AAC at 64 kbit/s, then SBC at bitpool 20"),
        ("sbc-53-loss-5pct", "SBC at bitpool 53, 5 % of packets lost"),
        ("sbc-53-loss-5pct-burst-3", "SBC at bitpool 53, 5 % of packets lost in bursts of 3"),
        ("sbc-53-adaptive-10pct", "SBC at bitpool 53, congested 10 % of the time"),
        ("sbc-38-dual", "SBC at bitpool per channel 38 (dual)"),
        ("aptx-hd", "aptX HD"),
        ("down-16000hz", "sampled down to 16 kHz"),
        ("noise-white--3db", "white noise, SNR −3 dB"),
        ("clip-6db", "clipped by 6 dB"),
        ("old-recording", "old recording"),
    ],
)
def test_a_title_says_in_plain_words_what_a_name_says(name, title):
    assert condition_title(name) == title


@given(st.lists(steps, max_size=4).map(lambda s: Condition(steps=tuple(s))))
def test_a_title_has_no_marks_of_a_name(condition):
    assert condition_title(condition.name) == parse_condition(condition.name).title
    assert not set("@+_`") & set(condition.title)
