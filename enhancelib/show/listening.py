"""Listen and compare: an A/B player, tabs of players, and two blind tests.

For JupyterLab and for static pages. They need no kernel in a published page;
:mod:`enhancelib.show.comparison` says how they get there.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from enhancelib.checks import check_number
from enhancelib.errors import InputError
from enhancelib.show.comparison import Comparison, check_sources

_ORIGINALS = ("original", "lossless")
_PRACTICE = "a plain case"
_PRACTICE_TRIALS = 2
_MOST_TRIALS = 1000


def low_anchor(wave: np.ndarray, *, sample_rate: int) -> np.ndarray:
    """The low anchor of ITU-R BS.1534-3: low-passed at 3.5 kHz, 50 dB down from 4.5 kHz; no delay.

    Args:
        wave: float (channels, samples).
        sample_rate: in Hz, at least 9000.

    Raises:
        InputError: the sample rate is too low for the filter.
    """
    from scipy.signal import fftconvolve, firwin, kaiserord

    if sample_rate < 9000:
        raise InputError(
            f"a 3.5 kHz anchor needs a sample rate of 9000 Hz or more, not {sample_rate}"
        )
    taps, beta = kaiserord(60, 500 / (sample_rate / 2))
    response = firwin(taps | 1, 3750, window=("kaiser", beta), fs=sample_rate)
    return fftconvolve(wave, response[None], mode="same", axes=1).astype(np.float32)


class Player(Comparison):
    """A/B player: any number of sources, one playhead, instant switching, loop, loudness match.

    Show it as the last value of a cell. Keys: space plays, 1-9 switch, arrows seek, L loops, E lets
    hear what a version lacks of the original, Z makes the picture follow the playhead. In a
    published page 1-9 work without the focus where one comparison alone is in view. Clips of up to
    20 s loop unasked.

    The error is the original less the version that is chosen, both as they are, so that it stands
    at its true level beside the original: where the loudness was matched, that gain is left out.

    Args:
        sources: name to wave, each float (1 or 2 channels, samples), all of one shape.
        sample_rate: in Hz.
        title: heading of the player.
        loudness_match: bring all sources to the loudness of the first (gains stated in dB).
        reference: the name of the original, from which errors are taken; where None, the source
            named "original" or "lossless", and no error without one.
        audio_dir: write audio as files here, see the module; the environment variable where None.

    Raises:
        InputError: no source, a wrong shape or type, unequal shapes, NaN, an unplayable rate, or a
            reference that is none of the sources.

    Attributes:
        gains_db: name to the gain at which the source is heard.
    """

    _kind = "player"
    _pictures = True

    def __init__(
        self,
        sources: Mapping[str, np.ndarray],
        *,
        sample_rate: int,
        title: str = "",
        loudness_match: bool = True,
        reference: str | None = None,
        audio_dir: str | Path | None = None,
    ) -> None:
        if reference is None:
            reference = next((name for name in sources if name in _ORIGINALS), None)
        elif reference not in sources:
            raise InputError(f"the reference {reference!r} is none of the sources")
        super().__init__(
            sources,
            sample_rate=sample_rate,
            title=title,
            loudness_match=loudness_match,
            reference=reference,
            audio_dir=audio_dir,
        )


class Gallery:
    """Players behind tabs, one of them shown, each under a line that says what to listen for.

    To choose a tab while another player sounds goes on with the new one, in the version that was
    heard. Without JavaScript the players stand one under the other.

    Args:
        players: name of a tab to its player.
        notes: name of a tab to its line, plain text; a tab may have none.
        title: what the tabs are, for those who cannot see them.

    Raises:
        InputError: no player, or a line for a tab that is not there.
    """

    def __init__(
        self,
        players: Mapping[str, Player],
        *,
        notes: Mapping[str, str] | None = None,
        title: str = "Pieces",
    ) -> None:
        if not players:
            raise InputError("a gallery needs at least one player")
        if lost := set(notes or {}) - set(players):
            raise InputError(f"the note {lost.pop()!r} belongs to none of the tabs")
        self._players, self._notes, self._title = dict(players), dict(notes or {}), title

    def html(self) -> str:
        """The tabs and their players as a piece of HTML that plays without a kernel."""
        panels = [
            f'<div class="el-panel" data-tab="{escape(name)}">'
            f'<p class="el-note">{escape(self._notes.get(name, ""))}</p>\n{player.html()}\n</div>'
            for name, player in self._players.items()
        ]
        label = escape(self._title)
        return "\n".join(
            [f'<div class="el-gallery" role="group" aria-label="{label}">', *panels, "</div>"]
        )

    _repr_html_ = html

    def __repr__(self) -> str:
        return f"Gallery({', '.join(self._players)})"


class MUSHRA(Comparison):
    """Blind rating in the manner of ITU-R BS.1534-3 (MUSHRA): systems against an open reference.

    Among the systems, in an order drawn by the browser, are the reference itself and a low anchor
    (the reference low-passed at 3.5 kHz). The ratings, 0 to 100, can be downloaded as CSV
    (:func:`enhancelib.mushra_result` reads them); in a running notebook they also arrive in
    :attr:`answers`.

    Args:
        systems: name to wave, each float (1 or 2 channels, samples).
        reference: the same shape.
        sample_rate: in Hz, at least 9000.
        title: heading of the test: the piece, for one test rates one piece.
        loudness_match: bring all to the loudness of the reference.
        audio_dir: as for :class:`Player`.

    Raises:
        InputError: as for :class:`Player`, or a system named "reference" or "low anchor".
    """

    _kind = "mushra"

    def __init__(
        self,
        systems: Mapping[str, np.ndarray],
        reference: np.ndarray,
        *,
        sample_rate: int,
        title: str = "Listening test",
        loudness_match: bool = True,
        audio_dir: str | Path | None = None,
    ) -> None:
        if reserved := {"reference", "low anchor"} & set(systems):
            raise InputError(f"the test adds {reserved.pop()!r} itself: name the system otherwise")
        waves = check_sources({"reference": reference, **systems}, sample_rate)
        super().__init__(
            {**waves, "low anchor": low_anchor(waves["reference"], sample_rate=sample_rate)},
            sample_rate=sample_rate,
            title=title,
            loudness_match=loudness_match,
            audio_dir=audio_dir,
        )


class ABX(Comparison):
    """Blind ABX test: in each trial X is A or B, drawn by the browser.

    No waveform is shown, and no score before the last trial. Keys: A, B and X play; with Shift, A
    and B answer. The last answer can be undone. The end shows the score, how often guessers get
    it (exact, binomial) and a link that tells the score. The answers can be downloaded as CSV
    (:func:`enhancelib.abx_result` reads it); in a running notebook they also arrive in
    :attr:`answers`, and a published page keeps them over a reload. There A, B and X also work
    without the focus, where one comparison alone is in view.

    Args:
        a: float (1 or 2 channels, samples).
        b: the same shape.
        sample_rate: in Hz.
        trials: number of trials, fixed in advance.
        names: what A and B are.
        title: heading of the test.
        practice: a wave that takes the place of B in two trials before the first one, which do not
            count and tell whether the answer was right: choose one that differs plainly from A.
        loudness_match: bring B to the loudness of A.
        audio_dir: as for :class:`Player`.

    Raises:
        InputError: as for :class:`Player`, or no whole number of 1 to 1000 trials.
    """

    _kind = "abx"

    def __init__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        *,
        sample_rate: int,
        trials: int = 10,
        names: tuple[str, str] = ("A", "B"),
        title: str = "ABX",
        practice: np.ndarray | None = None,
        loudness_match: bool = True,
        audio_dir: str | Path | None = None,
    ) -> None:
        trials = check_number(trials, "trials", low=1, high=_MOST_TRIALS, whole=True)
        if names[0] == names[1]:
            raise InputError(f"A and B need different names, both are {names[0]!r}")
        easy = {} if practice is None else {_PRACTICE: practice}
        if easy.keys() & set(names):
            raise InputError(f"A or B cannot be called {_PRACTICE!r}: the practice is")
        super().__init__(
            {names[0]: a, names[1]: b, **easy},
            sample_rate=sample_rate,
            title=title,
            loudness_match=loudness_match,
            audio_dir=audio_dir,
            trials=trials,
            practice=_PRACTICE_TRIALS if easy else 0,
        )
