"""Numbers that a caller gives: refused by name when they are given, not by a traceback later."""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING, Literal, overload

from enhancelib.errors import EnhanceError, InputError

if TYPE_CHECKING:
    from pydantic import ValidationError

MOST_THREADS = 256
"""The most threads of a model's runtime: more than any machine has use for."""


@overload
def check_number(
    value: float,
    name: str,
    *,
    low: float = ...,
    high: float = ...,
    whole: Literal[True],
    error: type[EnhanceError] = ...,
) -> int: ...


@overload
def check_number(
    value: float,
    name: str,
    *,
    low: float = ...,
    high: float = ...,
    whole: Literal[False] = ...,
    error: type[EnhanceError] = ...,
) -> float: ...


def check_number(
    value: float,
    name: str,
    *,
    low: float = 0,
    high: float = math.inf,
    whole: bool = False,
    error: type[EnhanceError] = InputError,
) -> float:
    """Return a number between two others, these included, and finite.

    Args:
        value: what was given.
        name: of the argument, for the message.
        low: smallest that is possible.
        high: largest that is possible.
        whole: whether it must be an integer; it is returned as one.
        error: what to raise.

    Raises:
        EnhanceError: it is something else, or out of these bounds.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if number and math.isfinite(value) and low <= value <= high and (not whole or value % 1 == 0):
        return int(value) if whole else float(value)
    kind = "a whole number" if whole else "a number"
    bounds = f"of {low:g} or more" if high == math.inf else f"between {low:g} and {high:g}"
    raise error(f"{name}: {value!r} is not {kind} {bounds}")


@overload
def check_threads(threads: int, *, error: type[EnhanceError] = ...) -> int: ...


@overload
def check_threads(threads: None, *, error: type[EnhanceError] = ...) -> None: ...


@overload
def check_threads(threads: int | None, *, error: type[EnhanceError] = ...) -> int | None: ...


def check_threads(threads: int | None, *, error: type[EnhanceError] = InputError) -> int | None:
    """Return a number of threads, or ``None`` as it is; see :func:`check_number`."""
    if threads is None:
        return None
    return check_number(threads, "threads", low=1, high=MOST_THREADS, whole=True, error=error)


def first_problem(error: ValidationError) -> str:
    """What pydantic found first, in one line: ``key: message (got value)``."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if not key:
        return problem["msg"]
    given = problem["input"]
    got = f" (got {given!r})" if isinstance(given, str | numbers.Number | None) else ""
    return f"{key}: {problem['msg']}{got}"
