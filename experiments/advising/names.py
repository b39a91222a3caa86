"""Names of the catalogue for what people and devices call things."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MEMORY = re.compile(r"(\d+) ?(?:gb|gib)\b")
_MAKERS = re.compile(r"\((?:r|tm|c)\)|nvidia|geforce|tesla|apple|intel|amd|core|processor|gpu|cpu")
# Words that make another part of one with the same number.
_OTHERS = {"ti", "super", "laptop", "mobile", "max", "pro", "ultra", "plus", "ada", "q"}


def memory_gib(text: str) -> float | None:
    """What a card's name says of its memory: 12 of ``RTX 3060 12GB``."""
    match = _MEMORY.search(text.lower())
    return float(match[1]) if match else None


def known_as(text: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that ``text`` means: ``rtx-4090`` of ``NVIDIA GeForce RTX 4090``.

    A model's owner (``openai/``) and a memory's size do not count where names have none.
    """
    names = list(names)
    text = text.strip()
    if text in names:
        return text
    said = _words(text.rpartition("/")[2])
    size = memory_gib(text)
    best: tuple[int, str] | None = None
    for name in names:
        words = _words(name)
        if words and words <= said and not (said - words) & _OTHERS:
            same = memory_gib(name.replace("-", " ")) == size
            best = max(best or (0, ""), (2 * len(words) + same, name))
    return best[1] if best else None


def slug(text: str) -> str:
    """``text`` as the catalogue writes names, to look for the nearest."""
    plain = _MAKERS.sub(" ", text.rpartition("/")[2].lower())
    return "-".join(re.findall(r"[a-z0-9.]+", plain))


def _words(text: str) -> set[str]:
    plain = _MEMORY.sub(" ", text.lower().replace("_", "-").replace("-", " "))
    return set(re.findall(r"[a-z0-9.]+", _MAKERS.sub(" ", plain)))
