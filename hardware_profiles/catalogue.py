"""Finds machines, parts and runtimes by name or in a file, and reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from prefetch_sim.hardware_profiles.problems import ProfileError, validated
from prefetch_sim.hardware_profiles.schema import (
    CpuPart,
    HardwareProfile,
    Profile,
    RuntimeProfile,
    StoragePart,
)
from prefetch_sim.hardware_profiles.yaml_file import YamlError, read_yaml
from prefetch_sim.traces.names import UnknownNameError, resolve

P = TypeVar("P", bound=Profile)

_FOLDER = Path(__file__).parent
_RUNTIMES = _FOLDER / "runtimes"
# Sections of a machine that a part can stand for; its files are in the folder of that name.
PARTS: dict[str, type[CpuPart] | type[StoragePart]] = {"cpu": CpuPart, "storage": StoragePart}
_SUFFIXES = (".yaml", ".yml")
# What drivers add in brackets, but for a size, which tells cards apart; what a chip is built into.
_ASIDE = re.compile(
    r"\((?![^)]*\d\s*GB)[^)]*\)|\bMacBook (?:Pro|Air)\b|\bMac (?:mini|Studio|Pro)\b|\biMac\b",
    re.IGNORECASE,
)
_MOBILE = re.compile(r"\bmobile\b", re.IGNORECASE)  # nvidia-smi calls them laptops' cards
# Words of a name that tell no two machines or parts apart.
_IDLE = re.compile(
    r"nvidia|geforce|tesla|quadro|amd|radeon|intel|apple|qualcomm|r|tm|cores?|processor|cpu|gpu|"
    r"graphics|card|ssd|nvme|drive|hbm\d?e?|\d+tb|blackwell|workstation|edition|developer|kit"
)


def list_profiles() -> tuple[str, ...]:
    """Names of the machines that come with the project, sorted."""
    return _names(_FOLDER)


def list_parts(section: str) -> tuple[str, ...]:
    """Names of the parts that can stand for a ``section``, sorted."""
    return _names(_parts(section))


def list_runtimes() -> tuple[str, ...]:
    """Names of the runtimes that come with the project, sorted."""
    return _names(_RUNTIMES)


def machine_name(text: str) -> str:
    """The catalogue's name of a machine as people write it: ``rtx-4090`` of ``GeForce RTX 4090``.

    Raises ProfileError where no machine has that name, or several have.
    """
    return _named(HardwareProfile.WHAT, text, _FOLDER)


def part_name(section: str, text: str) -> str:
    """Likewise of a part that can stand for a ``section``."""
    return _named(PARTS[section].WHAT, text, _parts(section))


def runtime_name(text: str) -> str:
    """Likewise of a runtime."""
    return _named(RuntimeProfile.WHAT, text, _RUNTIMES)


def load_profile(name_or_path: str | Path) -> HardwareProfile:
    """Read a machine's profile by catalogue name, or from a YAML file.

    Raises ProfileError naming the file and dotted path at fault, or the nearest known name.
    """
    return _load(HardwareProfile, str(name_or_path), _FOLDER)


def load_runtime(name_or_path: str | Path) -> RuntimeProfile:
    """Read a runtime's profile, likewise."""
    return _load(RuntimeProfile, str(name_or_path), _RUNTIMES)


def load_part(section: str, name_or_path: str | Path) -> CpuPart | StoragePart:
    """Read a part that can stand for a ``section``, likewise."""
    return _load(PARTS[section], str(name_or_path), _parts(section))


def load_any(name_or_path: str | Path) -> Profile:
    """Read a machine or a part, whichever it is."""
    text = str(name_or_path)
    if text.endswith(_SUFFIXES):
        content = _content(Path(os.path.expanduser(text)))
        kinds = [section for section in PARTS if section in content]
        whole = "unified_memory" in content or "compute" in content or len(kinds) != 1
        return load_profile(text) if whole else load_part(kinds[0], text)
    sections = {name: section for section in PARTS for name in list_parts(section)}
    name = _named(HardwareProfile.WHAT, text, _FOLDER, *map(_parts, PARTS))
    return load_part(sections[name], name) if name in sections else load_profile(name)


def sections_of(part: CpuPart | StoragePart) -> dict[str, Any]:
    """What a part brings to a machine; each section says which part it is of."""
    if isinstance(part, CpuPart):
        cpu = part.cpu.model_copy(update={"name": part.name})
        return {"cpu": cpu, "contention": part.contention}
    return {"storage": part.storage.model_copy(update={"name": part.name})}


def _parts(section: str) -> Path:
    return _FOLDER / "parts" / section


@cache
def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _load(model: type[P], text: str, folder: Path) -> P:
    if text.endswith(_SUFFIXES):
        path = Path(os.path.expanduser(text))
    else:
        path = folder / f"{_named(model.WHAT, text, folder)}.yaml"
    content = _content(path)
    if model is HardwareProfile:
        content = _with_parts(content, path)
    return validated(model, content, str(path))


def _named(what: str, text: str, *folders: Path) -> str:
    if any(text in _names(folder) for folder in folders):
        return text  # before any file is read
    known = {name: said for folder in folders for name, said in _vendors_names(folder).items()}
    try:
        return resolve(what, text, known, _IDLE)
    except UnknownNameError as error:
        with suppress(UnknownNameError):
            plain = _MOBILE.sub("laptop", _ASIDE.sub(" ", text)).strip()
            return resolve(what, plain, known, _IDLE)
        raise ProfileError(str(error)) from None


@cache
def _vendors_names(folder: Path) -> dict[str, str]:
    """How vendors call the entries of a folder: descriptions begin with it."""
    found = {}
    for name in _names(folder):
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
        said = text.partition("\ndescription: ")[2].partition("\n")[0]
        plain = re.sub(r"\(.*?\)", "", said)
        found[name] = re.split(r",| in | on | with | at ", plain)[0]
    return found


def _content(path: Path) -> Mapping[str, Any]:
    try:
        return _read(path, path.stat().st_mtime_ns if path.exists() else 0)
    except YamlError as error:
        raise ProfileError(str(error)) from error


@lru_cache(maxsize=128)
def _read(path: Path, stamp: int) -> dict[str, Any]:
    """Read once for all runs of a sweep; ``stamp`` makes an edited file a new one."""
    return read_yaml(path)


def _with_parts(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A machine's file with its parts in place. A part's file is looked for beside it."""
    whole = dict(content)
    for section in PARTS:
        name = content.get(section)
        if not isinstance(name, str):
            continue
        where = str(path.parent / name) if name.endswith(_SUFFIXES) else name
        try:
            found = sections_of(load_part(section, where))
        except ProfileError as error:
            raise ProfileError(f"{path}: {section}: {error}") from error
        # What the file says itself goes before what a part brings beside its section.
        whole = whole | {k: v for k, v in found.items() if k == section or k not in content}
    return whole
