"""What training items are made of: tables of shares, and one plan drawn for each item.

An item is a cut of music, mixed from the corpus, and the same cut under a condition. A plan says
everything about it and needs no audio, so the shares of a large draw can be counted in a second.

Music that was coded once before is no original. It teaches the energies of bands up to where it is
trusted (``energies_only``, ``trusted_hz``); :mod:`enhancelib.data.item_conditions` has what it is
under.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from enhancelib.data.catalog import SPLITS, Split
from enhancelib.data.item_conditions import draw_condition, pick, within
from enhancelib.degrade.codecs import parse_condition
from enhancelib.errors import InputError

RATE: Final = 44100
NYQUIST_HZ = RATE / 2

#: Share of the items → kinds of the main part and their weights; those the corpus lacks give theirs
#: to the others, of their own line first.
KINDS: tuple[tuple[float, dict[str, float]], ...] = (
    (0.46, {"song": 0.38, "game": 0.62}),
    (0.18, {"speech": 0.55, "singing": 0.45}),
    (0.21, {"instrument": 0.34, "rendered": 0.25, "synthesizer": 0.25, "band": 0.16}),
    (0.15, {"signal": 1.0}),  # what is to be left alone has to be heard more often than the rest
)
VOICES = "speech", "singing"
#: How many parts a sum has, from 1 up: music that is mixed already, and everything else.
PARTS_OF_MIXED = (0.70, 0.20, 0.06, 0.04)
PARTS_OF_OTHERS = (0.45, 0.20, 0.12, 0.08, 0.05, 0.04, 0.03, 0.03)
CHANNEL_SHARES = {"mean": 0.40, "left": 0.25, "right": 0.25, "side": 0.10}

JOIN, DIP, DULL, LIMITED = 0.06, 0.08, 0.15, 0.25
"""Shares of two pieces joined, dips into silence, natural roll-offs and limiters."""
HISS, HISS_OF_SIGNALS = 0.15, 0.5
"""Shares of originals with the hiss of a recording, and of signals with it: music may end far under
the highest frequency and have a floor there that no codec left."""
HISS_DB = 50.0, 90.0
"""How far the hiss lies under the music, at the least and at the most."""
WHOLE_SIGNALS = 0.5
"""Share of signals that stay as they are, beside those that the conditions' own shares leave."""


class ItemSettings(BaseModel):
    """Settings that decide the content of a folder of items.

    Attributes:
        seconds: length of an item.
        sample_rate: in Hz; the corpus and the items are at 44.1 kHz.
        count: number of items.
        split: of the corpus.
        seed: of everything that is drawn; each item has its own from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(10.0, ge=0.5, le=60)
    sample_rate: Literal[44100] = RATE
    count: int = Field(ge=1)
    split: Split = "train"
    seed: int = Field(0, ge=0)

    @property
    def samples(self) -> int:
        """Length in samples of an item, which is the same for its lossy and lossless side."""
        return round(self.seconds * self.sample_rate)

    def rng(self, index: int) -> np.random.Generator:
        """The generator of one item."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), index])


@dataclasses.dataclass(frozen=True)
class Material:
    """One piece of the corpus, as its manifest has it; ``trusted_hz`` says how far it is good."""

    path: str
    kind: str
    source: str
    duration_s: float
    trusted_hz: float = NYQUIST_HZ
    once_lossy: bool = False

    @property
    def energies_only(self) -> bool:
        """Whether the piece is no true original: coded before, or without its top octaves."""
        return self.once_lossy or self.trusted_hz < NYQUIST_HZ


@dataclasses.dataclass(frozen=True)
class Part:
    """A cut of a piece; ``start_s`` is negative where the piece begins later than the cut."""

    material: Material
    start_s: float
    gain_db: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything about one item.

    Attributes:
        kind: of the main part, which comes first.
        parts: what is summed.
        joined: what follows from ``join_s`` on, if anything.
        condition: its canonical name.
        channel: one of :data:`enhancelib.data.mixing.CHANNELS`.
        level_db: peak of the mix in dBFS, before the condition.
        drive_db: into a limiter; 0 for none.
        slope: corner in Hz and fall in dB per octave of a natural roll-off, if any.
        hiss_db: how far under the music the original's own hiss is; 0 for none.
        wall_hz: of a brick wall in the original too; 0 for none.
        dip_s: first and last second of a silence, if any.
        seed: of what is random in the condition.
    """

    kind: str
    parts: tuple[Part, ...]
    joined: Part | None
    join_s: float
    condition: str
    channel: str
    level_db: float
    drive_db: float
    slope: tuple[float, float] | None
    hiss_db: float
    wall_hz: float
    dip_s: tuple[float, float] | None
    seed: int

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """All cuts of pieces that the item is mixed from, with the one that is joined on."""
        return self.parts if self.joined is None else (*self.parts, self.joined)

    @property
    def energies_only(self) -> bool:
        """Whether a part of the item is no true original (:attr:`Material.energies_only`)."""
        return any(part.material.energies_only for part in self.all_parts)

    @property
    def trusted_hz(self) -> float:
        """Frequency in Hz up to which every part of the item is as it was recorded."""
        return min(part.material.trusted_hz for part in self.all_parts)


class Pool:
    """The pieces of one split, to be drawn from.

    A source is drawn in proportion to the square root of its length, so that long ones do not drown
    the others; a piece within it in proportion to its own.
    """

    def __init__(self, pieces: Sequence[Material]):
        by_kind: dict[tuple[str, bool], list[Material]] = {}
        for piece in pieces:
            by_kind.setdefault((piece.kind, piece.energies_only), []).append(piece)
        self._lists = by_kind
        self._ends = {key: _cumulative(chosen) for key, chosen in by_kind.items()}
        known = {kind for _, weights in KINDS for kind in weights}
        if unknown := {piece.kind for piece in pieces} - known:
            raise InputError(f"corpus: unknown kind {min(unknown)!r}; use {', '.join(known)}")
        self._kinds, self._shares = _kind_shares({kind for kind, _ in by_kind})

    def main(self, rng: np.random.Generator) -> Material:
        """Draw a piece, of a kind that is drawn first by the shares in :data:`KINDS`."""
        kind = self._kinds[rng.choice(len(self._kinds), p=self._shares)]
        keys = [key for key in self._ends if key[0] == kind]
        lengths = np.array([self._ends[key][-1] for key in keys])
        return self._piece(keys[rng.choice(len(keys), p=lengths / lengths.sum())], rng)

    def beside(self, main: Material, rng: np.random.Generator) -> Material:
        """A piece to go with another: an original where that is one, so that it stays one."""
        keys = [key for key in self._ends if main.energies_only or not key[1]]
        musical = [key for key in keys if key[0] != "signal"] or keys
        shares = np.array([self._share(kind) for kind, _ in musical])
        return self._piece(musical[rng.choice(len(musical), p=shares / shares.sum())], rng)

    def _share(self, kind: str) -> float:
        return self._shares[self._kinds.index(kind)]

    def _piece(self, key: tuple[str, bool], rng: np.random.Generator) -> Material:
        ends = self._ends[key]
        place = int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))
        return self._lists[key][min(place, len(ends) - 1)]


def _cumulative(pieces: Sequence[Material]) -> np.ndarray:
    total: dict[str, float] = {}
    for piece in pieces:
        total[piece.source] = total.get(piece.source, 0.0) + piece.duration_s
    return np.cumsum([piece.duration_s / total[piece.source] ** 0.5 for piece in pieces])


def _kind_shares(there: set[str]) -> tuple[list[str], np.ndarray]:
    shares: dict[str, float] = {}
    for share, weights in KINDS:
        found = {kind: weight for kind, weight in weights.items() if kind in there}
        for kind, weight in found.items():
            shares[kind] = share * weight / sum(found.values())
    values = np.array(list(shares.values()))
    return list(shares), values / values.sum()


def read_corpus(corpus_dir: Path, split: str) -> list[Material]:
    """Read the pieces of one split from a corpus's ``manifest.csv``.

    Raises:
        InputError: no manifest, one that lacks a column, or no piece of the split.
    """
    path = corpus_dir / "manifest.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; build the corpus with make corpus")
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("split") == split]
    try:
        pieces = [
            Material(
                path=row["path"],
                kind=row["kind"],
                source=row["source"],
                duration_s=float(row["duration_s"]),
                trusted_hz=min(float(row["trusted_hz"] or NYQUIST_HZ), NYQUIST_HZ),
                once_lossy=row["once_lossy"] in ("1", "True", "true"),
            )
            for row in rows
        ]
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: no manifest of a corpus ({error}); run make corpus") from None
    if not pieces:
        raise InputError(f"{path}: no {split} piece; name another split or build the corpus anew")
    return pieces


# ---------------------------------------------------------------- drawing


def draw(rng: np.random.Generator, pool: Pool, *, seconds: float = 10.0) -> Plan:
    """Draw the plan of one item.

    Args:
        rng: source of all that is random.
        pool: what there is to draw from.
        seconds: length of the item.
    """
    main = pool.main(rng)
    table = PARTS_OF_MIXED if main.kind in ("song", "game") else PARTS_OF_OTHERS
    signal = main.kind == "signal"
    count = 1 if signal else 1 + int(rng.choice(len(table), p=table))
    chosen = [main, *(pool.beside(main, rng) for _ in range(count - 1))]
    parts = tuple(_part(piece, rng, seconds) for piece in chosen)
    joined = _part(pool.beside(main, rng), rng, seconds) if rng.random() < JOIN else None
    condition, wall_hz = draw_condition(
        rng, energies_only=main.energies_only, voice=main.kind in VOICES
    )
    if signal and rng.random() < WHOLE_SIGNALS:
        condition, wall_hz = "lossless", 0.0
    drive_db = float(rng.uniform(3, 12)) if rng.random() < LIMITED else 0.0
    loud = rng.random() < 0.7
    return Plan(
        kind=main.kind,
        parts=parts,
        joined=joined,
        join_s=float(rng.uniform(0.2, 0.8) * seconds),
        condition=parse_condition(condition).name,
        channel=pick(rng, CHANNEL_SHARES),
        level_db=float(rng.uniform(-6, 0) if loud else rng.uniform(-30, -6)),
        drive_db=drive_db,
        slope=_slope(rng) if rng.random() < DULL else None,
        hiss_db=_hiss(rng) if rng.random() < (HISS_OF_SIGNALS if signal else HISS) else 0.0,
        wall_hz=wall_hz,
        dip_s=_dip(rng, seconds) if rng.random() < DIP else None,
        seed=int(rng.integers(1 << 31)),
    )


def _part(piece: Material, rng: np.random.Generator, seconds: float) -> Part:
    room = piece.duration_s - seconds
    start = rng.random() * room  # where the piece is too short, negative: somewhere in the item
    return Part(piece, round(float(start), 4), round(float(rng.uniform(-10, 10)), 2))


def _slope(rng: np.random.Generator) -> tuple[float, float]:
    return within(rng, 1000, 12000), float(rng.uniform(12, 40))


def _hiss(rng: np.random.Generator) -> float:
    return round(float(rng.uniform(*HISS_DB)), 2)


def _dip(rng: np.random.Generator, seconds: float) -> tuple[float, float]:
    length = min(within(rng, 0.2, 3.0), seconds / 2)
    start = float(rng.uniform(0, seconds - length))
    return start, start + length
