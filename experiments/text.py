"""Text as it is shown: on any terminal, with nothing in it that a terminal would obey."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable, Sequence

LONGEST = 380  # characters of what an error says
_QUOTED, _WORD = 80, 160  # and of a value in it, and of a word, where the line is longer
_LONG_VALUE = rf"'[^']{{{_QUOTED},}}'|\"[^\"]{{{_QUOTED},}}\""
_LONG_WORD = rf"\S{{{_WORD},}}"
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
    """The last part of each dotted path, and the whole where two end alike."""
    last = [path.removesuffix(".name").rpartition(".")[2] for path in paths]
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
