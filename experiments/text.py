"""Text as it is shown: numbers, and names with nothing in them that a terminal obeys."""

from __future__ import annotations

import codecs
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import get_args

LONGEST = 380  # characters of what an error says
_QUOTED, _WORD = 80, 160  # and of a value in it, and of a word, where the line is longer
_LONG_VALUE = rf"'[^']{{{_QUOTED},}}'|\"[^\"]{{{_QUOTED},}}\""
_LONG_WORD = rf"\S{{{_WORD},}}"
_LEAST = 1e-6
_ASCII = str.maketrans({"–": "-", "×": "x", "±": "+-", "µ": "u", "…": "...", "α": "alpha"})


def escaped(text: str) -> str:
    """``text`` with control characters, and others that are not seen, as ``\\\\x1b`` is."""
    return text if text.isprintable() else re.sub(r"[^\n]", _seen, text)


def _seen(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """``text`` in one line of at most LONGEST characters: long values in it lose their middle."""
    text = escaped(" ".join(text.split()))
    if len(text) > LONGEST:
        text = re.sub(_LONG_VALUE, _cut(_QUOTED), text)
    if len(text) > LONGEST:
        text = re.sub(_LONG_WORD, _cut(_WORD), text)
    return shortened(text, LONGEST)


def shortened(text: str, length: int) -> str:
    """``text``, or its beginning and its end in ``length`` characters."""
    if len(text) <= length:
        return text
    end = length // 4
    return f"{text[: length - end - 5]} ... {text[-end:]}"


def _cut(length: int) -> Callable[[re.Match[str]], str]:
    return lambda match: shortened(match[0], length)


def last_parts(paths: Sequence[str]) -> list[str]:
    """The last part of each dotted path, and the whole where two end alike.

    A figure by precision (``expert_gb_s.bf16``) has two: the precision alone says of nothing what.
    """
    from prefetch_sim.traces.models.precision import Rate  # here, as every command starts with text

    rates = get_args(Rate)
    parts = [path.removesuffix(".name").split(".") for path in paths]
    last = [".".join(names[-2 if names[-1] in rates else -1 :]) for names in parts]
    return [name if last.count(name) == 1 else path for name, path in zip(last, paths)]


def on_any_terminal() -> None:
    """What the terminal's encoding lacks is written another way; nothing ends the program."""
    codecs.register_error("prefetch-sim", _written_otherwise)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="prefetch-sim")


def _written_otherwise(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ASCII)
    return text.encode("ascii", "backslashreplace"), error.end


def number(value: float | None, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, all of those before the point, never in powers of
    ten; "–" for none. Of ms, what is less than a ns is nothing.
    """
    if value is None:
        return "–"
    if not math.isfinite(value) or abs(value) < _LEAST:
        return f"{abs(value):.{digits}f}"
    power = int(f"{value:.{digits - 1}e}".partition("e")[2])  # as rounded: of 9.999 it is 1
    return f"{value:,.{max(0, digits - 1 - power)}f}"


def count(how_many: int, noun: str) -> str:
    return f"{how_many:,} {noun}" + ("" if how_many == 1 else "s")


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def size(nbytes: float) -> str:
    """Bytes in the largest binary unit that keeps at least one digit before the point."""
    units = ["KiB", "MiB", "GiB", "TiB"]
    if nbytes < 1024:
        return f"{nbytes:.0f} B"
    while nbytes >= 1024 and units:
        nbytes, unit = nbytes / 1024, units.pop(0)
    return f"{nbytes:.1f} {unit}"
