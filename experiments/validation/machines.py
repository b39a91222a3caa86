"""Which machine a validation is of: its profiles, by where experts come from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from prefetch_sim.hardware_profiles import load_profile, load_runtime
from prefetch_sim.sim.calibration.profile import COPIES
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree, read_yaml, set_path
from prefetch_sim.sim.config.paths import seen_from_here
from prefetch_sim.sim.config.schema import RunConfig

DISK, MEMORY = "disk", "memory"  # experts come off storage, or are copied within host memory


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
