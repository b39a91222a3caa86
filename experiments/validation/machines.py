"""Which machine a validation is of: its profiles, by where experts come from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from prefetch_sim.hardware_profiles import load_profile, load_runtime
from prefetch_sim.sim.calibration.profile import COPIES
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree, read_yaml, set_path
from prefetch_sim.sim.config.paths import seen_from_here
from prefetch_sim.sim.config.schema import RunConfig

DISK, MEMORY = "disk", "memory"  # experts come off storage, or are copied within host memory
# Figures that decide what a replay does, so that a mean of two would be of none that ran.
_DECIDES = (("storage", "queue_depth"), ("storage", "read_mib"), ("host_link", "chunk_mib"))


class Machine(NamedTuple):
    """Files of one machine's profiles, by ``DISK`` and ``MEMORY``, and of its runtime's."""

    name: str
    hardware: dict[str, Path]
    runtime: Path


def given(hardware: Path, runtime: Path) -> Machine:
    """The machine of two files, and of the one that calibration writes beside the first.

    Raises ConfigError where there is none, ProfileError where one does not hold.
    """
    found = {}
    beside = hardware.with_name(f"{hardware.stem}{COPIES}{hardware.suffix}")
    for path in (hardware, beside):
        if path == hardware or path.is_file():
            found[DISK if load_profile(path).unified_memory else MEMORY] = path
    load_runtime(runtime)
    return Machine(load_profile(hardware).name, found, runtime)


def between(before: Machine, after: Machine, folder: Path) -> Machine:
    """The machine of two calibrations, in ``folder``: what drifts was each for half of the time.

    Measured figures are the means of both, no surer than half of what lies between them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ways = {**before.hardware, "runtime": before.runtime}
    others = {**after.hardware, "runtime": after.runtime}
    found = {way: folder / path.name for way, path in ways.items()}
    for way, path in ways.items():
        tree, later = read_yaml(path), read_yaml(others[way])
        for figure, again in _measured_twice(tree, later):
            mean = (figure["value"] + again["value"]) / 2
            apart = abs(figure["value"] - again["value"]) / 2 / mean if mean else 0.0
            least = max(figure["uncertainty"], again["uncertainty"], apart)
            figure["source"] += f"; before {figure['value']:g}, after {again['value']:g}: the mean"
            figure |= {"value": float(f"{mean:.4g}"), "uncertainty": min(1.0, round(least, 4))}
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=10_000)
        found[way].write_text(text, encoding="utf-8")
    runtime = found.pop("runtime")
    return Machine(before.name, found, runtime)


def _measured_twice(
    tree: Tree, later: Tree, at: tuple[str, ...] = ()
) -> Iterator[tuple[Tree, Tree]]:
    """The figures that both measured and that decide nothing, of the one and of the other."""
    for key, value in tree.items():
        again = later.get(key)
        if not isinstance(value, dict) or not isinstance(again, dict) or (*at, key) in _DECIDES:
            continue
        if "value" not in value:
            yield from _measured_twice(value, again, (*at, key))
        elif value["kind"] == again["kind"] == "measured":
            yield value, again


def kept(machine: Machine, folder: Path) -> Machine:
    """``machine`` with its profiles in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    hardware = {way: folder / f"{way}.yaml" for way in machine.hardware}
    runtime = folder / "runtime.yaml"
    for way, source in [*machine.hardware.items(), ("runtime", machine.runtime)]:
        target = folder / f"{way}.yaml"
        if source.resolve() != target.resolve():
            shutil.copyfile(source, target)
    return Machine(machine.name, hardware, runtime)


def placed(tree: Tree, machine: Machine, source: Path) -> Tree:
    """``tree`` with ``disk`` and ``memory`` under ``hardware`` as that machine, and its runtime.

    Overlap and kernels are the config's, if it says so; its paths start where it lies.
    Raises ConfigError.
    """

    def which(value: Any) -> Any:
        if value not in (DISK, MEMORY):
            raise ConfigError(
                f"{source}: hardware: {value!r}; a validation is of the machine that it runs on: "
                f"{DISK} or {MEMORY}"
            )
        if value not in machine.hardware:
            known = ", ".join(machine.hardware)
            raise ConfigError(
                f"{source}: hardware: no profile of {machine.name} for {value}, only for {known}"
            )
        return str(machine.hardware[value])

    found = seen_from_here(tree, source.parent)
    if "hardware" in found:
        found = {**found, "hardware": which(found["hardware"])}
    sweep = found.get("sweep")
    if isinstance(sweep, dict) and isinstance(sweep.get("hardware"), list):
        here = [which(value) for value in sweep["hardware"]]
        found = {**found, "sweep": {**sweep, "hardware": here}}
    elif "hardware" not in found:
        raise ConfigError(f"{source}: hardware: say {DISK}, {MEMORY}, or both under sweep")
    runtime = found.get("runtime", {})
    if not isinstance(runtime, dict) or "name" in runtime:
        raise ConfigError(f"{source}: runtime: is the replay's own; only its figures can be set")
    return set_path(found, "runtime", {**runtime, "name": str(machine.runtime)})


def check_alone(path: Path) -> Tree:
    """A config, with a sweep of one point where it has none. Raises ConfigError."""
    tree = read_yaml(path)
    if "sweep" in tree and not isinstance(tree["sweep"], dict):
        raise ConfigError(f"{path}: sweep: a validation has one mapping of paths to lists")
    unknown = sorted(set(tree) - {"sweep"} - set(RunConfig.model_fields))
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}")
    return {"sweep": {"seed": [tree.get("seed", 0)]}, **tree}
