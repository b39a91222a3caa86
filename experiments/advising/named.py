"""Cards, machines and parts by the names that people give them, or by their files."""

from __future__ import annotations

import re
from contextlib import suppress
from difflib import get_close_matches
from itertools import product
from pathlib import Path

from prefetch_sim.hardware_profiles import (
    ProfileError,
    list_profiles,
    load_profile,
    machine_name,
    part_name,
)
from prefetch_sim.hardware_profiles.drafts import vendor

# As in a name: 12GB, 11.5 GiB, 8G, 12GB GDDR6, or nvidia-smi's 24564 MiB.
MEMORY = re.compile(
    r"(?<![\w.])(\d+(?:\.\d+)?) ?(?:gi?b?|(mi?b))\b(?: ?(?:of )?(?:vram|gddr\w+|hbm\w*)\b)?",
    re.IGNORECASE,
)
_LAPTOP = re.compile(r"\b(?:laptop|mobile|notebook|max-?q|m)\b|(?<=\d)m\b", re.IGNORECASE)
# Two names, or one and a number: "A + B", "A, A", "2x A", "2 A", "A x2", "pair of A". Not the plus
# of an AI Max+ 395, nor the lanes of a PCIe link.
_AND = re.compile(r"\s\+|\+(?=\s*[a-z])|(?<=\d)\+|[,&]|\band\b", re.IGNORECASE)
_LANES = re.compile(
    r"\bpci-?e?(?: ?gen)? ?(?:\d(?:\.\d)?)? ?[x×] ?\d+\b|\bgen ?\d [x×] ?\d+\b", re.IGNORECASE
)
_TIMES = re.compile(
    r"^\s*(\d{1,2})(?: ?[x×*] ?|\s+(?!gi?b?\b))(?=\S)|(?<=[\d\s)])[x×*] ?(\d{1,2})\s*$",
    re.IGNORECASE,
)
_COUNTS = {
    "pair of": 2, "couple of": 2, "dual": 2, "two": 2, "twin": 2, "three": 3, "triple": 3,
    "four": 4, "quad": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
}  # fmt: skip
_WORDS = re.compile(rf"^\s*(?:an? )?({'|'.join(_COUNTS)})\s+", re.IGNORECASE)
# What people name beside a card, by the option that takes it.
_OTHERS = {
    "ram": re.compile(r"\d ?[gt]i?b?\b.*\b(?:ram|memory|ddr\d\w*)|\bram\b", re.IGNORECASE),
    "cpu": re.compile(r"\bi[3579]\b|ryzen|epyc|xeon|threadripper|\bcpu\b", re.IGNORECASE),
}
_ONE_MEMORY = re.compile(r"jetson|orin|thor|gb10|strix|snapdragon|raspberry", re.IGNORECASE)
_OTHER_LINES = re.compile(r"\bada\b|\bquadro\b", re.IGNORECASE)  # cards of one number, not one kind
_SERVER = re.compile(r"epyc|xeon|threadripper", re.IGNORECASE)
_NEAR = re.compile(r"did you mean '([^']+)'\?")
_FILES = (".yaml", ".yml")


def card_name(text: str) -> tuple[str, float | None]:
    """The catalogue's name of a card or machine, or its file; and GiB that ``text`` says it has.

    Raises ProfileError with the nearest name.
    """
    if (file := described(text)) is not None:
        return file, None
    if (cards := _cards(text))[1] > 1:
        raise _several(*cards)
    size = _memory(text)
    try:
        return machine_name(text), None
    except ProfileError as error:
        if size is None:
            raise _no_card(text, error) from None
        with suppress(ProfileError):  # the card with another memory
            return machine_name(MEMORY.sub(" ", text)), size
        raise _no_card(text, error) from None


def _memory(text: str) -> float | None:
    """GiB that ``text`` says; of MiB, of which cards have a few less, whole ones."""
    found = MEMORY.search(text)
    if found is None:
        return None
    return float(round(float(found[1]) / 1024)) if found[2] else float(found[1])


def _cards(text: str) -> tuple[str, int]:
    """One card of those that ``text`` names, and how many it names; nothing where they differ.

    Raises ProfileError where what is named beside a card is none.
    """
    text = _LANES.sub("", text)
    named = [part.strip() for part in _AND.split(text) if MEMORY.sub("", part).strip()]
    if len(named) > 1:
        for part, (option, other) in product(named, _OTHERS.items()):
            if other.search(part):
                raise ProfileError(f"gpu: {part!r} is no card; say it with --{option}")
        alike = len({part.casefold() for part in named}) == 1
        return named[0] if alike else "", len(named)
    if (times := _TIMES.search(text)) is not None:
        return _TIMES.sub("", text).strip(), int(times[1] or times[2])
    if (word := _WORDS.search(text)) is not None:
        return _WORDS.sub("", text).strip(), _COUNTS[word[1].lower()]
    return text, 1


def _several(card: str, count: int) -> ProfileError:
    """One line: what comes near to several, where it is known which card they are."""
    said = "gpu: several cards are not modelled; ask about one of them"
    with suppress(ProfileError):
        name, gib = card_name(card)
        whole = count * (gib or load_profile(name).compute.memory_gib.value)
        plain = MEMORY.sub("", card).strip()
        said += f", or, as with layers shared out, about one of {whole:g} GB: '{plain} {whole:g}GB'"
    return ProfileError(said)


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
    size, mac = _memory(text), vendor(text) == "apple"
    rest = "--link-gb-s GBS --host-memory-gib GIB --drive-gb-s GBS"
    if mac or _ONE_MEMORY.search(text):
        rest = "--drive-gb-s GBS --unified" + (" --chip apple" if mac else "")
    new = (  # capitals, so that nobody runs it with figures of another card
        f"prefetch-sim hardware new my-box --gpu-memory-gib {f'{size:g}' if size else 'GIB'} "
        f"--gpu-gb-s GBS {rest}"
    )
    near = _NEAR.search(str(error))
    if near is None and "unknown" not in str(error):
        return ProfileError(f"gpu: {error}")  # several of that name
    meant = _meant(text, near[1] if near else None)
    begin = f"unknown card or machine {text!r}" + (f"; did you mean {meant!r}?" if meant else ".")
    return ProfileError(
        f"gpu: {begin} One that is in no list is described by its own numbers: {new}, "
        "then --gpu my-box ('prefetch-sim list hardware' has the list)"
    )


def _meant(text: str, near: str | None) -> str | None:
    """The one card that may be meant. A laptop's is never a desktop's of that number."""
    plain = MEMORY.sub(" ", text).lower()
    laptop = _LAPTOP.search(plain) is not None
    if near is not None and laptop == ("laptop" in near) and _is_near(text, near):
        return near
    number = re.search(r"(?<!\w)(\d{4})(?!\d)", plain)
    if number is None or _OTHER_LINES.search(text):
        return _other_socket(text)
    kind = [word for word in ("ti", "super") if re.search(rf"{word}\b", plain)]
    found = [
        name
        for name in list_profiles()
        if f"-{number[1]}" in name
        and laptop == ("laptop" in name)
        and kind == [word for word in ("ti", "super") if word in name.split("-")]
    ]
    return found[0] if len(found) == 1 else None


def _other_socket(text: str) -> str | None:
    """A server's card of that number and memory, plugged in otherwise: an A100-SXM4-40GB."""
    size, number = _memory(text), re.search(r"(?<!\w)[a-z]\d{3}(?!\w)", text.lower())
    if size is None or number is None:
        return None
    said = {number[0], f"{size:g}gb"}
    found = [name for name in list_profiles() if said <= set(name.split("-"))]
    return found[0] if len(found) == 1 else None


def _is_near(text: str, name: str) -> bool:
    """Whether ``name`` may be meant: alike, and with all digits of ``text`` in their order."""
    text = MEMORY.sub("", text).strip().lower().replace(" ", "-")
    lettered = re.findall(r"(?<!\w)[a-z]\d{3,4}(?!\w)", text)  # an A6000 is no RTX PRO 6000
    if _OTHER_LINES.search(text) or not set(lettered) <= set(name.split("-")):
        return False
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
