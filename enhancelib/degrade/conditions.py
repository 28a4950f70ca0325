"""Conditions: the names of degradations, read and written.

A condition is steps joined by ``+``, applied in order; :func:`parse_condition` reads a name, and
:attr:`Condition.name` writes it back in its one canonical form.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict

from enhancelib.audio.waves import check_rate
from enhancelib.checks import check_number
from enhancelib.degrade.degradations import NOISE_COLORS
from enhancelib.degrade.encoders import CODECS, Codec, check_legal, coding_rate
from enhancelib.errors import InputError

_MAX_SHARE_PCT = 50.0  # of packets lost or of time congested
_MOST_DB = 200.0  # of noise or clipping, either way


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Loss(_Frozen):
    """Packets lost on the radio: ``percent`` of them, in bursts of ``burst`` on average."""

    percent: float
    burst: float = 2.0

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        burst = "" if self.burst == 2 else f"-burst-{self.burst:g}"
        return f"-loss-{self.percent:g}pct{burst}"

    @property
    def title(self) -> str:
        """The step in plain words."""
        burst = "" if self.burst == 2 else f" in bursts of {self.burst:g}"
        return f", {self.percent:g} % of packets lost{burst}"


class Congestion(_Frozen):
    """A radio congested ``percent`` of the time, to which the sender adapts its bitpool."""

    percent: float

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        return f"-adaptive-{self.percent:g}pct"

    @property
    def title(self) -> str:
        """The step in plain words."""
        return f", congested {self.percent:g} % of the time"


class Coding(_Frozen):
    """Through a codec; ``setting`` is kbit/s or bitpool, ``rate_hz`` the rate it is coded at.

    ``variant`` is one of the codec's, see :attr:`enhancelib.degrade.encoders.Codec.variants`.
    """

    codec: str
    setting: int | None = None
    variant: str | None = None
    congestion: Congestion | None = None
    loss: Loss | None = None
    rate_hz: int | None = None

    @property
    def how(self) -> Codec:
        """The codec as it is run here."""
        return CODECS[self.codec].variant(self.variant)

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        setting = "" if self.setting is None else f"-{self.setting}"
        setting += "" if self.variant is None else f"-{self.variant}"
        link = "".join(part.name for part in (self.congestion, self.loss) if part)
        return f"{self.codec}{setting}{link}" + (f"@{self.rate_hz}hz" if self.rate_hz else "")

    @property
    def title(self) -> str:
        """The step in plain words."""
        title = re.split(r"-LC| \(|,", self.how.title)[0]
        value = {"": "", "kbit/s": f" at {self.setting} kbit/s"}
        title += value.get(self.how.unit, f" at {self.how.unit} {self.setting}")
        title += "" if self.variant is None else f" ({self.variant})"
        title += f", coded at {_khz(self.rate_hz)}" if self.rate_hz else ""
        return title + "".join(part.title for part in (self.congestion, self.loss) if part)


class Resampling(_Frozen):
    """Resampled to ``rate_hz`` and back: ``down`` takes the band above, ``up`` takes nothing."""

    direction: Literal["down", "up"]
    rate_hz: int

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        return f"{self.direction}-{self.rate_hz}hz"

    @property
    def title(self) -> str:
        """The step in plain words."""
        return f"sampled {self.direction} to {_khz(self.rate_hz)}"


class Noise(_Frozen):
    """Noise of a color at ``snr_db``."""

    color: str
    snr_db: float

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        return f"noise-{self.color}-{self.snr_db:g}db"

    @property
    def title(self) -> str:
        """The step in plain words."""
        return f"{self.color} noise, SNR {self.snr_db:g} dB".replace("-", "\N{MINUS SIGN}")


class Clipping(_Frozen):
    """Clipped hard, ``drive_db`` under the peak."""

    drive_db: float

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        return f"clip-{self.drive_db:g}db"

    @property
    def title(self) -> str:
        """The step in plain words."""
        return f"clipped by {self.drive_db:g} dB"


class OldRecording(_Frozen):
    """A shellac disc: band limit, wow, crackle, hiss."""

    name: Literal["old-recording"] = "old-recording"

    @property
    def title(self) -> str:
        """The step in plain words."""
        return "old recording"


Step = Coding | Resampling | Noise | Clipping | OldRecording


class Condition(_Frozen):
    """A degradation: steps in order; none of them is ``lossless``."""

    steps: tuple[Step, ...] = ()

    @property
    def name(self) -> str:
        """The canonical name; :func:`parse_condition` of it gives this condition back."""
        return "+".join(step.name for step in self.steps) or "lossless"

    @property
    def title(self) -> str:
        """What happens, in plain words."""
        return ", then ".join(step.title for step in self.steps) or "lossless"

    def at_rate(self, sample_rate: int) -> Condition:
        """Return the condition that names every rate conversion for waves of this rate in Hz."""
        return Condition(steps=tuple(_at_rate(step, sample_rate) for step in self.steps))


def _khz(rate_hz: int) -> str:
    return f"{rate_hz / 1000:g} kHz"


def _at_rate(step: Step, sample_rate: int) -> Step:
    if not isinstance(step, Coding):
        return step
    rate = step.rate_hz or coding_rate(step.how, sample_rate)
    return step.model_copy(update={"rate_hz": None if rate == sample_rate else rate})


# ---------------------------------------------------------------- reading names

_NUMBER = r"\d+(?:\.\d+)?"
_CODEC_NAMES = "|".join(sorted(CODECS, key=len, reverse=True))
_VARIANTS = "|".join(sorted({name for codec in CODECS.values() for name in codec.variants}))
_CODING = re.compile(
    rf"(?P<codec>{_CODEC_NAMES})(?:-(?P<setting>\d+))?(?:-(?P<variant>{_VARIANTS}))?"
    rf"(?:-adaptive-(?P<congested>{_NUMBER})pct)?"
    rf"(?:-loss-(?P<loss>{_NUMBER})pct(?:-burst-(?P<burst>{_NUMBER}))?)?"
    r"(?:@(?P<rate>\d+)hz)?"
)
_RESAMPLING = re.compile(r"(down|up)-(\d+)hz")
_NOISE = re.compile(rf"noise-([a-z]+)-(-?{_NUMBER})db")
_CLIPPING = re.compile(rf"clip-({_NUMBER})db")


@lru_cache(maxsize=1024)
def parse_condition(name: str) -> Condition:
    """Read a condition's name.

    Args:
        name: steps joined by ``+``; case does not matter.

    Raises:
        InputError: an unknown step, or a value its codec does not have; names the legal ones.
    """
    steps = (_step(part) for part in name.strip().lower().split("+"))
    return Condition(steps=tuple(step for step in steps if step is not None))


def condition_title(name: str) -> str:
    """A condition's name in plain words, for figures and prose: ``MP3 at 64 kbit/s``.

    Raises:
        InputError: as :func:`parse_condition`.
    """
    return parse_condition(name).title


def _step(text: str) -> Step | None:
    if text == "lossless":
        return None
    if text == "old-recording":
        return OldRecording()
    if match := _CODING.fullmatch(text):
        return _coding(text, match)
    if match := _RESAMPLING.fullmatch(text):
        return Resampling(direction=match[1], rate_hz=check_rate(int(match[2]), name=text))
    if match := _NOISE.fullmatch(text):
        return _noise(text, match)
    if match := _CLIPPING.fullmatch(text):
        return Clipping(drive_db=check_number(float(match[1]), text, high=_MOST_DB))
    raise InputError(
        f"condition {text!r} is unknown; use lossless, down-16000hz, noise-white-20db, clip-6db, "
        f"old-recording, or a codec ({', '.join(CODECS)}) with the setting it may need, such "
        "as sbc-53"
    )


def _noise(text: str, match: re.Match[str]) -> Noise:
    if match[1] not in NOISE_COLORS:
        raise InputError(f"{text}: unknown color; use {', '.join(NOISE_COLORS)}")
    ratio = check_number(float(match[2]), text, low=-_MOST_DB, high=_MOST_DB)
    return Noise(color=match[1], snr_db=ratio)


def _coding(text: str, match: re.Match[str]) -> Coding:
    codec = CODECS[match["codec"]]
    setting = int(match["setting"]) if match["setting"] else None
    rate = check_rate(int(match["rate"]), name=text) if match["rate"] else None
    _check_setting(codec.variant(match["variant"]), setting, rate)
    step = Coding(
        codec=codec.name,
        setting=setting,
        variant=match["variant"],
        congestion=Congestion(percent=match["congested"]) if match["congested"] else None,
        loss=_loss(match) if match["loss"] else None,
        rate_hz=rate,
    )
    _check_link(text, step)
    return step


def _loss(match: re.Match[str]) -> Loss:
    burst = {} if match["burst"] is None else {"burst": match["burst"]}
    return Loss(percent=match["loss"], **burst)


def _check_setting(codec: Codec, setting: int | None, rate: int | None) -> None:
    """Refuse a setting that is legal at none of the rates the codec may run at."""
    rates = codec.rates if rate is None else (rate,)
    channels = max(codec.channels)
    if any(r in codec.rates and setting in (codec.settings(r, channels) or (None,)) for r in rates):
        return
    usual = rate or (44100 if 44100 in codec.rates else codec.rates[-1])
    check_legal(codec, sample_rate=usual, channels=channels, setting=setting)


def _check_link(text: str, step: Coding) -> None:
    if step.loss and not CODECS[step.codec].conceals:
        able = ", ".join(name for name, codec in CODECS.items() if codec.conceals)
        raise InputError(f"{text}: packets are lost only of {able}; use one of them")
    if step.congestion and step.codec != "sbc":
        raise InputError(
            f"{text}: only sbc adapts its bitpool; use for example sbc-53-adaptive-10pct"
        )
    shares = [part.percent for part in (step.loss, step.congestion) if part]
    if any(not 0 < share <= _MAX_SHARE_PCT for share in shares):
        raise InputError(f"{text}: percentages go from above 0 to {_MAX_SHARE_PCT:g}")
    if step.loss and step.loss.burst < 1:
        raise InputError(f"{text}: a burst is at least 1 packet; use for example -burst-3")
