"""The rooms of sim/: imports go one way, as docs/architecture.md has them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("traces", "hardware_profiles", "sim", "experiments")
# From the top down; rooms of one row do not know each other.
ROOMS = (
    ("calibration",),
    ("results",),
    ("compiled",),
    ("machine", "replay"),
    ("setup",),
    ("engine",),
    ("eviction", "predictors", "prefetch", "misses"),
    ("cost",),
    ("jit",),
    ("workload",),
    ("config",),
)
# Of experiments/, likewise, packages and files; who starts one, __main__.py, is above all.
PACKAGES = (
    ("cli",),
    ("commands",),
    ("checking",),
    ("api", "validation", "copy_or_cpu", "experts_on_gpu", "questions", "paper_check"),
    ("comparing", "plots", "studies"),
    ("sweeps",),
    ("advising", "conclusions", "output", "runs"),
    ("field_check", "operator_check", "predictor_study", "benchmark", "gpu_day"),
    ("documents", "heartbeat", "interrupts", "text"),
)
LEVEL = {room: level for level, row in enumerate(ROOMS) for room in row}
# What each folder may know beside itself.
BELOW = {
    "traces": set(),
    "hardware_profiles": {"traces"},  # how names are written
    "sim": {"traces", "hardware_profiles"},
    "experiments": {"traces", "hardware_profiles", "sim"},
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def files_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


MODULES = {module_of(path) for folder in FOLDERS for path in files_of(folder)}


def imports(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, for types alone and inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are whole"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, inside = name.partition(".")
            assert top not in FOLDERS, f"{path}: {name} is what lies in the working directory"
            if top == "prefetch_sim":
                while inside not in MODULES:  # a name in a module
                    inside = inside.rpartition(".")[0]
                yield inside


def room(module: str) -> str | None:
    """The room of a module of sim/; None: loose in sim/."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sim" and len(parts) > 1 and parts[1] in LEVEL else None


def test_every_folder_of_sim_is_a_room_and_few_files_are_loose() -> None:
    entries = {path.name for path in (ROOT / "sim").iterdir() if path.name != "__pycache__"}
    assert {name for name in entries if not name.endswith(".py")} == set(LEVEL)
    assert entries - set(LEVEL) == {"__init__.py", "run.py"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_imports_upward(folder: str) -> None:
    known = {name.split(".")[0] for path in files_of(folder) for name in imports(path)}
    assert known - {folder} <= BELOW[folder]


@pytest.mark.parametrize("name", sorted(LEVEL))
def test_no_room_imports_upward(name: str) -> None:
    for path in files_of(f"sim/{name}"):
        for imported in imports(path):
            other = room(imported)
            assert imported.split(".")[0] != "sim" or other or imported == "sim", (
                f"{path}: {imported} is the door"
            )
            assert other in (None, name) or LEVEL[other] > LEVEL[name], f"{path}: {imported}"


def package(module: str) -> str | None:
    """The package, or file, of experiments/ that a module is of."""
    parts = module.split(".")
    return parts[1] if parts[0] == "experiments" and len(parts) > 1 else None


def test_no_package_of_experiments_imports_upward() -> None:
    level = {name: level for level, row in enumerate(PACKAGES) for name in row}
    there = {package(module_of(path)) for path in files_of("experiments")} - {None}
    assert there == level.keys()
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert [name for name in level if f"`{name}/`" not in text and f"`{name}.py`" not in text] == []
    for path in files_of("experiments"):
        name = package(module_of(path))
        if name is None or path.name == "__main__.py":
            continue
        for imported in imports(path):
            other = package(imported)
            assert other in (None, name) or level[other] > level[name], f"{path}: {imported}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_files_import_in_a_circle(folder: str) -> None:
    known = {
        module_of(path): {name for name in imports(path) if name.split(".")[0] == folder}
        for path in files_of(folder)
    }
    for module, found in known.items():
        found.discard(module.rpartition(".")[0])  # a package, for what is beside this in it
    TopologicalSorter(known).prepare()  # raises CycleError


def test_the_document_shows_the_rooms_that_are_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    picture = text.split("```")[3]
    shown = [re.findall(r"(\w+)/", line) for line in picture.splitlines() if "/" in line]
    assert [tuple(row) for row in shown] == list(ROOMS)


def test_what_a_document_names_is_there() -> None:
    """Files, folders and functions in the table of docs/where.md."""
    files = [path for folder in FOLDERS for path in files_of(folder)]
    there = [path for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*")]
    paths = [f"/{path.relative_to(ROOT).as_posix()}" for path in there]
    paths += [f"/{folder}" for folder in FOLDERS]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    table = (ROOT / "docs/where.md").read_text(encoding="utf-8").partition("|---|")[2]
    named = set(re.findall(r"`([^`]+)`", table))
    assert len(named) > 80
    for name in named:
        if "/" in name or name.endswith(".py"):
            assert any(path.endswith(f"/{name.removesuffix('/')}") for path in paths), name
        else:
            assert all(re.search(rf"\b{word}\b", code) for word in name.split(".")), name
