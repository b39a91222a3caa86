"""Names of a catalogue as people write them, and which of them one that is none comes nearest to.

``NVIDIA GeForce RTX 4090`` is ``rtx-4090``: case, spaces, and words that tell no two entries apart
make no difference. What a name says beyond that has to be true of the entry: an ``RTX 4090 Laptop``
is another machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

# Words that an entry may have and a person leave out: sizes of memory, how it is plugged in, family
# names before a number that is known without them.
_LEFT_OUT = re.compile(r"\d+gb|pcie|sxm\d?|rtx|rx|arc|jetson|ryzen")


class UnknownNameError(ValueError):
    """Nothing, or more than one thing, has that name. One line, with what was probably meant."""


def resolve(what: str, given: str, known: Mapping[str, str], idle: re.Pattern[str]) -> str:
    """The name in ``known`` of the ``what`` that is ``given``; ``idle``: words that say nothing.

    ``known`` has for each name how its vendor writes it, or nothing. Raises UnknownNameError where
    no entry fits, or several do.
    """
    if given in known:
        return given
    same = [name for name in known if _letters(name) == _letters(given)]
    found = same or [name for name in known if _fits(given, name, known[name], idle)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownNameError(
            f"{what} {given!r} may be {' or '.join(map(repr, found))}; say which"
        )
    raise UnknownNameError(f"unknown {what} {given!r}{_nearest(given, known, idle)}")


def _fits(given: str, name: str, vendors: str, idle: re.Pattern[str]) -> bool:
    """Whether the entry has every word that is given, and all that tells it apart are given."""
    said, own, spelled = _words(given), set(_words(name)), set(_words(vendors))
    words = set(said)
    if any(said.count(word) > 1 for word in _telling(words, idle)):
        return False  # two of them
    if any(word not in own | spelled and not idle.fullmatch(word) for word in words):
        return False
    needed = [_telling(own, idle)]
    if any(character.isdigit() for word in _telling(spelled, idle) for character in word):
        needed.append(_telling(spelled, idle))  # a type, and no "any desktop"
    return any(some and some <= words for some in needed)


def _telling(words: Iterable[str], idle: re.Pattern[str]) -> set[str]:
    return {word for word in words if not (_LEFT_OUT.fullmatch(word) or idle.fullmatch(word))}


def _words(text: str) -> list[str]:
    """``RTX3060Ti 12 GB`` → ``rtx 3060 ti 12gb``. Neither clock rates nor cores are names."""
    text = re.sub(r"@.*|\b\d+-cores?\b", " ", text.casefold())
    text = re.sub(r"(?<=[a-z]{2})(?=\d{2})|(?<=\d{2})(?=[a-z]{2})", " ", text)
    text = re.sub(r"(?<!\d)(\d+)\s*gi?b\b", r" \1gb ", text)
    return re.findall(r"[a-z0-9](?:[a-z0-9.]*[a-z0-9])?", text)


def _letters(text: str) -> str:
    return "".join(_characters(text))


def _characters(text: str) -> Iterator[str]:
    return (character for character in text.casefold() if character.isalnum())


def _nearest(given: str, known: Iterable[str], idle: re.Pattern[str]) -> str:
    """As ``errors.did_you_mean``, with an eye on words."""
    words = [word for word in _words(given) if not idle.fullmatch(word)]
    names = {"".join(_words(name)): name for name in sorted(known)}
    text = "".join(words)
    # A name cut short is nearer to what it begins than to one of its own length, and one with more
    # to it to what it begins with.
    near = [key for key in names if text and key.startswith(text)]
    begun = [key for key, name in names.items() if _begins(words, _words(name))]
    near = near or sorted(begun, key=len, reverse=True)
    if not near:
        told = _telling(words, idle)
        shared = {key: len(told & _telling(_words(name), idle)) for key, name in names.items()}
        most = max(shared.values(), default=0)
        alike = [key for key, count in shared.items() if count == most]
        near = get_close_matches(text, alike, n=1, cutoff=0.5 if most == 0 else 0)
    return (
        f"; did you mean {names[near[0]]!r}?" if near else f"; known: {', '.join(names.values())}"
    )


def _begins(words: list[str], own: list[str]) -> bool:
    return words[: len(own)] == own
