"""Cards, machines and parts by the names that people give them, or by their files."""

from __future__ import annotations

import re
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from prefetch_sim.hardware_profiles import ProfileError, list_profiles, machine_name, part_name

# As in a name: 12GB, 11.5 GiB, 8G.
MEMORY = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?) ?gi?b?\b", re.IGNORECASE)
_LAPTOP = re.compile(r"\b(?:laptop|mobile|notebook|max-?q|m)\b|(?<=\d)m\b", re.IGNORECASE)
_SERVER = re.compile(r"epyc|xeon|threadripper", re.IGNORECASE)
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
    new = (  # capitals, so that nobody runs it with figures of another card
        f"prefetch-sim hardware new my-box --gpu-memory-gib {size[1] if size else 'GIB'} "
        "--gpu-gb-s GBS --link-gb-s GBS --host-memory-gib GIB --drive-gb-s GBS"
    )
    near = _NEAR.search(str(error))
    if near is None and "unknown" not in str(error):
        return ProfileError(f"gpu: {error}")  # several of that name
    meant = _meant(text, near[1] if near else None)
    begin = f"unknown card or machine {text!r}" + (f"; did you mean {meant!r}?" if meant else ".")
    return ProfileError(
        f"gpu: {begin} One that is in no list is described by its own five numbers: {new}, "
        "then --gpu my-box ('prefetch-sim list hardware' has the list)"
    )


def _meant(text: str, near: str | None) -> str | None:
    """The one card that may be meant. A laptop's is never a desktop's of that number."""
    plain = MEMORY.sub(" ", text).lower()
    laptop = _LAPTOP.search(plain) is not None
    if near is not None and laptop == ("laptop" in near) and _is_near(text, near):
        return near
    number = re.search(r"(?<!\w)(\d{4})(?!\d)", plain)
    if number is None:
        return None
    kind = [word for word in ("ti", "super") if re.search(rf"{word}\b", plain)]
    found = [
        name
        for name in list_profiles()
        if f"-{number[1]}" in name
        and laptop == ("laptop" in name)
        and kind == [word for word in ("ti", "super") if word in name.split("-")]
    ]
    return found[0] if len(found) == 1 else None


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
        near = _NEAR.search(str(error))
        unknown = section == "cpu" and "unknown" in str(error)
        if unknown and not (near and _is_near(text, near[1])):
            like = "octa" if _SERVER.search(text) else "dual"
            raise ProfileError(
                f"cpu: {text!r} is in no list; by its memory it may be 'ddr4-{like}' or "
                f"'ddr5-{like}' ('prefetch-sim list hardware' has the list)"
            ) from None
        raise ProfileError(f"{'drive' if section == 'storage' else section}: {error}") from None


def known_cpu(text: str) -> str | None:
    """Likewise of a CPU; None for one that is in no list."""
    with suppress(ProfileError):
        return part_name("cpu", text)
    return None
