"""The plan of runs (``plan.yaml``) expanded to configs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from prefetch_sim.hardware_profiles import load_profile
from prefetch_sim.sim.config.files import Tree, parse, read_yaml
from prefetch_sim.sim.config.schema import RunConfig

PLAN = Path(__file__).with_name("plan.yaml")


class Point(NamedTuple):
    device: str
    runtime: str
    variant: str
    predictor: str
    config: RunConfig


def read_plan() -> Tree:
    return read_yaml(PLAN)


def points(plan: Tree) -> Iterator[Point]:
    """Every run of the plan, in its order."""
    for group in plan["groups"]:
        axes = [_names(plan, group, section) for section in ("devices", "runtimes", "variants")]
        for device, runtime, variant in product(*axes):
            for predictor in _names(plan, group, "predictors"):
                yield point(plan, device, runtime, variant, predictor)


def point(plan: Tree, device: str, runtime: str, variant: str, predictor: str) -> Point:
    """One run: the base config with one entry of each section laid over it."""
    tree = plan["base"]
    for section, name in (
        ("devices", device),
        ("runtimes", runtime),
        ("predictors", predictor),
        ("variants", variant),
    ):
        tree = _overlay(tree, plan[section][name])
    factor = tree.pop("link", None)
    if factor is not None:
        tree = _overlay(tree, {"hardware": {"host_link": {"gb_s": factor * _link_gb_s(tree)}}})
    name = f"{device}, {runtime}, {variant}, {predictor}"
    return Point(device, runtime, variant, predictor, parse(tree | {"name": name}, str(PLAN)))


def _names(plan: Tree, group: Tree, section: str) -> list[str]:
    chosen: str | list[str] = group[section]
    return list(plan[section]) if isinstance(chosen, str) else chosen


def _overlay(below: Tree, above: Tree) -> Tree:
    """``below`` with ``above`` merged in, mappings key by key; neither is changed."""
    merged = dict(below)
    for key, value in above.items():
        old: Any = merged.get(key)
        if key == "hardware" and isinstance(old, str):
            old = {"name": old}
        one_of = key == "capacity"  # a share, experts or bytes: never two of them
        both = isinstance(old, dict) and isinstance(value, dict) and not one_of
        merged[key] = _overlay(old, value) if both else value
    return merged


def _link_gb_s(tree: Tree) -> float:
    hardware = tree["hardware"]
    if isinstance(hardware, dict) and "host_link" in hardware:
        return float(hardware["host_link"]["gb_s"])
    name = hardware if isinstance(hardware, str) else hardware["name"]
    link = load_profile(name).host_link
    assert link is not None  # none of the plan's devices has unified memory
    return link.gb_s.value
