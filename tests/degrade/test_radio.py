"""The radio link: Gilbert's statistics, the bitpool's moves, and what fills a gap."""

import numpy as np
import pytest

from enhancelib.degrade import radio


def runs(lost: np.ndarray) -> np.ndarray:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize(("loss", "burst"), [(0.01, 2), (0.05, 2), (0.2, 8), (0.5, 1)])
def test_losses_have_the_share_and_the_bursts_asked_for(loss, burst):
    """Over many packets, within five standard errors of the two-state chain's long-run values."""
    lost = radio.gilbert(400_000, loss=loss, mean_burst=burst, rng=np.random.default_rng(0))
    lengths = runs(lost)
    assert lost.mean() == pytest.approx(loss, rel=0.1)
    assert lengths.mean() == pytest.approx(burst, rel=0.05)
    if burst > 1:  # geometric: the variance of a burst is b (b − 1)
        assert lengths.var() == pytest.approx(burst * (burst - 1), rel=0.15)


def test_the_chain_starts_in_its_stationary_state():
    first = [
        radio.gilbert(1, loss=0.3, mean_burst=5, rng=np.random.default_rng(seed))[0]
        for seed in range(2000)
    ]
    assert np.mean(first) == pytest.approx(0.3, abs=0.05)


def test_losses_depend_on_the_seed_only():
    def draw(seed):
        return radio.gilbert(200, loss=0.2, mean_burst=3, rng=np.random.default_rng(seed))

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


def test_frames_share_a_media_packet_as_the_mtu_allows():
    """672 bytes less 12 of RTP and 1 of SBC header; the count field has four bits."""
    assert radio.frames_per_packet(119) == 5  # bitpool 53
    assert radio.frames_per_packet(83) == 7  # bitpool 35
    assert radio.frames_per_packet(10) == 15
    assert radio.frames_per_packet(700) == 1


def adaptive(congested: float, frames: int = 40_000, seed: int = 0) -> np.ndarray:
    return radio.adaptive_bitpools(
        frames,
        top=53,
        floor=20,
        congested=congested,
        frame_s=128 / 44100,
        rng=np.random.default_rng(seed),
    )


def test_the_bitpool_falls_by_five_rises_by_one_and_stays_in_bounds():
    bitpools = adaptive(0.1)
    assert len(bitpools) == 40_000
    assert bitpools.min() >= 20
    assert bitpools.max() == 53
    moves = set(np.diff(bitpools).tolist())
    assert {-5, 1, 0} <= moves
    assert all(move in (-5, 0, 1) or -5 < move < 0 for move in moves)  # less only at the floor


def test_more_congestion_means_a_lower_bitpool():
    means = [adaptive(share).mean() for share in (0.02, 0.1, 0.3)]
    assert means[0] > 50
    assert means[0] > means[1] + 2 > means[2] + 4
    assert means[2] < 30


# ---------------------------------------------------------------- concealment

RATE, FRAME = 44100, 128


def gap(lost_frames: range, frames: int = 120) -> tuple[np.ndarray, slice]:
    lost = np.zeros(frames, bool)
    lost[list(lost_frames)] = True
    return lost, slice(lost_frames.start * FRAME, lost_frames.stop * FRAME)


def test_a_steady_tone_is_carried_on_through_a_short_gap():
    """Against the tone itself: silence would be an error as large as the tone (0 dB)."""
    time = np.arange(120 * FRAME) / RATE
    tone = np.stack([np.sin(2 * np.pi * 350 * time), 0.5 * np.sin(2 * np.pi * 700 * time)])
    lost, where = gap(range(60, 63))
    damaged = tone.copy()
    damaged[:, where] = 0
    filled = radio.conceal(damaged, lost, frame=FRAME, sample_rate=RATE)
    inside = slice(where.start + 50, where.stop)  # after the crossfade from the ringing
    error = np.sum((filled[:, inside] - tone[:, inside]) ** 2) / np.sum(tone[:, inside] ** 2)
    assert 10 * np.log10(error) < -15
    after = slice(where.stop + 100, None)
    np.testing.assert_array_equal(filled[:, after], tone[:, after])
    np.testing.assert_array_equal(filled[:, : where.start], tone[:, : where.start])


def test_a_long_gap_fades_to_silence_by_60_ms():
    """ITU-T G.711, appendix I: full level for 10 ms, silence from 60 ms."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1, 120 * FRAME))
    lost, where = gap(range(40, 80))
    noise[:, where] = 0
    filled = radio.conceal(noise, lost, frame=FRAME, sample_rate=RATE)[0, where]
    milliseconds = RATE // 1000
    level = [np.std(filled[i * milliseconds : (i + 8) * milliseconds]) for i in (2, 30, 62, 80)]
    assert 0.6 < level[0] < 1.3
    assert 0.35 < level[1] / level[0] < 0.75
    assert level[2] == level[3] == 0


def test_without_a_past_there_is_silence_and_without_losses_nothing_changes():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 120 * FRAME))
    lost, where = gap(range(3))
    early = noise.copy()
    early[:, where] = 0
    np.testing.assert_array_equal(radio.conceal(early, lost, frame=FRAME, sample_rate=RATE), early)
    none = np.zeros(120, bool)
    np.testing.assert_array_equal(radio.conceal(noise, none, frame=FRAME, sample_rate=RATE), noise)


def test_the_level_stays_after_silence_and_at_the_end():
    silence = np.zeros((1, 120 * FRAME))
    lost, _ = gap(range(60, 70))
    assert not radio.conceal(silence, lost, frame=FRAME, sample_rate=RATE).any()
    noise = np.random.default_rng(0).standard_normal((1, 120 * FRAME))
    lost, where = gap(range(117, 120))
    noise[:, where] = 0
    filled = radio.conceal(noise, lost, frame=FRAME, sample_rate=RATE)
    assert np.std(filled[:, where]) == pytest.approx(1, rel=0.3)
