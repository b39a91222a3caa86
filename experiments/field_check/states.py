"""``faster`` of a row's config makes a machine cooler than its profile."""

from __future__ import annotations

from typing import Any

from prefetch_sim.hardware_profiles import load_profile, load_runtime
from prefetch_sim.sim.config.files import Tree, set_path

# What computes, and what is host work on the same cores: the one is faster, the other takes less.
RATES = ("memory_gb_s", "tflops")
WORK = ("step_us", "layer_us", "miss.us", "miss.us_per_mib", "miss.beside_us")


def _name(given: Any) -> str:
    return str(given["name"] if isinstance(given, dict) else given)


def _own(tree: Tree, path: str, otherwise: float) -> float:
    """The figure at ``path`` of a row's config, or that of the catalogue."""
    node: Any = tree
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return otherwise if node is None else float(node)


def faster(tree: Tree) -> Tree:
    """One number makes all that the cores do faster; the drive stays as it was."""
    if "faster" not in tree:
        return tree
    by = float(tree["faster"])
    tree = {key: value for key, value in tree.items() if key != "faster"}
    machine = load_profile(_name(tree["hardware"])).flat()
    for path, figure in machine.items():
        part, _, which = path.partition(".")
        if part == "compute" and which.split(".")[0] in RATES:
            at = f"hardware.{path}"
            tree = set_path(tree, at, _own(tree, at, figure.value) * by)
    figures = load_runtime(_name(tree["runtime"])).flat()
    for which in WORK:
        at = f"runtime.{which}"
        tree = set_path(tree, at, _own(tree, at, figures[which].value) / by)
    return tree
