"""Calibration: figures from samples, profiles from figures, and what is read of other tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefetch_sim.hardware_profiles import load_profile, load_runtime
from prefetch_sim.hardware_profiles.drafts import as_yaml, complete, complete_runtime
from prefetch_sim.hardware_profiles.schema import Figure


def figure(value: float) -> Figure:
    return Figure(value=value, kind="measured", source="measured here", uncertainty=0.1)


@pytest.mark.parametrize("unified", [False, True])
def test_what_was_measured_stands_and_the_rest_is_the_nearest_machine_s(unified: bool) -> None:
    measured = {
        "compute.memory_gb_s": figure(880),
        "compute.memory_gib": figure(24),
        "host_link.gb_s": figure(26.5),
        "contention.cpu": figure(0.7),
        "storage.gb_s": figure(5.5),
    }
    made = complete("mine", "a machine", measured, unified=unified)
    flat = made.profile.flat()
    kept = {path: one for path, one in measured.items() if not unified or path in flat}
    assert {path: flat[path] for path in kept} == kept
    assert ("host_link.gb_s" in flat) is not unified
    rest = [one for path, one in flat.items() if path not in measured]
    assert all(one.kind == "estimate" and "taken from" in one.source for one in rest)
    assert flat["compute.launch_us"].value == load_profile(made.like).compute.launch_us.value


def test_profiles_are_written_as_they_are_read(tmp_path: Path) -> None:
    machine = complete("mine", "ein Gerät: #1", {"cpu.threads": figure(2)}, unified=False).profile
    runtime = complete_runtime("my-engine", "x", {"layer_us": figure(3)}, lacks=("cpu",))
    for profile, load in ((machine, load_profile), (runtime, load_runtime)):
        path = tmp_path / f"{profile.name}.yaml"
        path.write_text(as_yaml(profile, ["storage, 1 MiB: 2 GB/s"]), encoding="utf-8")
        assert load(path) == profile
    assert runtime.layer_us == figure(3)
    assert runtime.step_us.kind == "estimate"


def test_every_profile_of_the_catalogue_survives_being_written(tmp_path: Path) -> None:
    for name, load in (("t4", load_profile), ("llama.cpp", load_runtime)):
        path = tmp_path / "copy.yaml"
        path.write_text(as_yaml(load(name)), encoding="utf-8")
        assert load(path).flat() == load(name).flat()
