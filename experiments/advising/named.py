"""Cards, machines and parts by the names that people give them, or by their files."""

from __future__ import annotations

import re
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from prefetch_sim.hardware_profiles import ProfileError, machine_name, part_name

MEMORY = re.compile(r"\b(\d+) ?gi?b\b", re.IGNORECASE)  # as in a name
_NEAR = re.compile(r"did you mean '([^']+)'\?")
_FILES = (".yaml", ".yml")


def card_name(text: str) -> tuple[str, float | None]:
    """The catalogue's name of a card or machine, or its file; and GiB that ``text`` says it has.

    Raises ProfileError with the nearest name.
    """
    if (file := described(text)) is not None:
        return file, None
    size = MEMORY.search(text)
    try:
        return machine_name(text), None
    except ProfileError as error:
        if size is None:
            raise _no_card(text, error) from None
        with suppress(ProfileError):  # the card with another memory
            return machine_name(MEMORY.sub(" ", text)), float(size[1])
        raise _no_card(text, error) from None


def described(text: str) -> str | None:
    """The YAML file that ``text`` is, or that is here by that name; None for a name of the list."""
    if text.endswith(_FILES):
        return text
    with suppress(ProfileError):
        machine_name(text)
        return None
    return next((text + end for end in _FILES if Path(text + end).is_file()), None)


def _no_card(text: str, error: ProfileError) -> ProfileError:
    """One line: the nearest name where it is near, and how to describe what is in no list."""
    size = MEMORY.search(text)
    new = (
        f"prefetch-sim hardware new my-box --gpu-memory-gib {size[1] if size else 16} "
        "--gpu-gb-s 610 --link-gb-s 25 --host-memory-gib 64 --drive-gb-s 6"
    )
    near = _NEAR.search(str(error))
    if near is not None and _is_near(text, near[1]):
        begin = f"unknown card or machine {text!r}; did you mean {near[1]!r}?"
    elif near is not None or "unknown" in str(error):
        begin = f"unknown card or machine {text!r}."
    else:
        return ProfileError(f"gpu: {error}")  # several of that name
    return ProfileError(
        f"gpu: {begin} One that is in no list is described by its own five numbers: {new}, "
        "then --gpu my-box ('prefetch-sim list hardware' has the list)"
    )


def _is_near(text: str, name: str) -> bool:
    """Whether ``name`` may be meant: alike, and with all digits of ``text`` in their order."""
    text = MEMORY.sub("", text).strip().lower().replace(" ", "-")
    digits = ".*".join(re.findall(r"\d", text))
    return bool(re.search(digits, name) and get_close_matches(text, [name], cutoff=0.7))


def part_called(section: str, text: str) -> str:
    """The catalogue's name of a part, or its file. Raises ProfileError with the nearest name."""
    if text.endswith(_FILES):
        return text
    try:
        return part_name(section, text)
    except ProfileError as error:
        raise ProfileError(f"{'drive' if section == 'storage' else section}: {error}") from None


def known_cpu(text: str) -> str | None:
    """Likewise of a CPU; None for one that is in no list."""
    with suppress(ProfileError):
        return part_name("cpu", text)
    return None
