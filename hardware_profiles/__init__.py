"""Profiles of machines, of their parts and of runtimes, by name: load, list, override.

A profile is a YAML file of this folder (a runtime: of `runtimes/`, a part: of `parts/`), or any
other file of the same shape (see `schema`). A machine's file may name a part where a section would
stand: `cpu: ddr4-dual`.
"""

from prefetch_sim.hardware_profiles.catalogue import (
    PARTS,
    list_parts,
    list_profiles,
    list_runtimes,
    load_any,
    load_part,
    load_profile,
    load_runtime,
    machine_name,
    part_name,
    runtime_name,
)
from prefetch_sim.hardware_profiles.changes import load_machine, override
from prefetch_sim.hardware_profiles.problems import ProfileError
from prefetch_sim.hardware_profiles.schema import (
    Chip,
    CpuPart,
    Figure,
    HardwareProfile,
    Overlap,
    RuntimeProfile,
    StoragePart,
)

__all__ = [
    "PARTS",
    "Chip",
    "CpuPart",
    "Figure",
    "HardwareProfile",
    "Overlap",
    "ProfileError",
    "RuntimeProfile",
    "StoragePart",
    "list_parts",
    "list_profiles",
    "list_runtimes",
    "load_any",
    "load_machine",
    "load_part",
    "load_profile",
    "load_runtime",
    "machine_name",
    "override",
    "part_name",
    "runtime_name",
]
