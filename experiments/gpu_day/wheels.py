"""Says which packages a machine without network lacks, and how to bring them.

Run as a file, by the Python that is there: it needs nothing beside it.
"""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("pytest", "hypothesis")
# The first has to fit the machine's driver; what is captured here does without the second.
NOT_NEEDED = ("torch", "accelerate")


def requirements() -> list[str]:
    """What a run, a capture and the tests marked gpu need, as pyproject.toml has it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"]
    tests = [line for line in extras["dev"] if _name(line) in TESTS]
    return [*project["dependencies"], *extras["capture"], *tests]


def missing(
    needed: Iterable[str], version: Callable[[str], str] = metadata.version
) -> tuple[list[str], list[str]]:
    """Of ``needed``: what is not there, and what is there but older than asked for."""
    absent, old = [], []
    for line in needed:
        if _name(line) in NOT_NEEDED:
            continue
        try:
            found = version(_name(line))
        except metadata.PackageNotFoundError:
            absent.append(line)
            continue
        least = re.search(r">=\s*([\d.]+)", line)
        if least and _numbers(found) < _numbers(least[1]):
            old.append(f"{line} (here: {found})")
    return absent, old


def advice(absent: list[str]) -> str:
    """How to bring them."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    machine = platform.machine()
    platforms = " ".join(
        f"--platform {name}_{machine}" for name in ("manylinux_2_28", "manylinux2014")
    )
    names = " ".join(f"'{line}'" for line in absent)
    return (
        f"wheels missing here (Python {python}, Linux {machine}): {', '.join(absent)}\n"
        f"Where there is a network:\n  pip download --only-binary=:all: --python-version {python} "
        f"{platforms} -d wheels {names}\nThen bring the folder wheels/ here, beside "
        "pyproject.toml, and run this again: it installs from there."
    )


def main() -> int:
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        print("torch is missing here: bring the build of it that fits this machine's driver")
        return 2
    absent, old = missing(requirements())
    for line in old:
        print(f"older than asked for, and used all the same: {line}")
    if absent:
        print(advice(absent))
        return 2
    print(f"all packages are here, torch {torch}")
    return 0


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    return found[0] if found else requirement


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


if __name__ == "__main__":
    sys.exit(main())
