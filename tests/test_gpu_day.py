"""The day with a GPU goes through at toy size, keeps what it has, and says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

from prefetch_sim.experiments.gpu_day import wheels
from prefetch_sim.experiments.sweeps.points import plan
from prefetch_sim.sim.config.files import read_yaml
from prefetch_sim.sim.setup import inputs as setup

ROOT = Path(__file__).parents[1]
STAGES = ("tests", "capture", "calibrate", "validate-dry-run")
MODELS = ("qwen3-30b-a3b", "deepseek-v2-lite", "phi-mini-moe", "gpt-oss-20b")


def gpu_day(work: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if name != "OUT"}
    return subprocess.run(
        ["bash", str(ROOT / "experiments/gpu_day.sh"), *arguments],
        env={**known, "PYTHON": sys.executable, "GPU_DAY": str(work), **more},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def test_a_dry_run_goes_through_every_stage_and_packs_it(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the capture extra")
    none = gpu_day(tmp_path / "a", "--dry-run", SECONDS_IN_ALL="1")
    assert none.returncode == 3, none.stderr
    assert "capture: no time left in this call" in none.stdout
    out = tmp_path / "packed"
    first = gpu_day(tmp_path / "a", "--dry-run", OUT=str(out))
    assert first.returncode == 0, first.stdout + first.stderr
    assert not first.stderr
    assert not (tmp_path / "a.part").exists()
    for stage in STAGES:
        assert f"\n{stage}: done, " in first.stdout
    with tarfile.open(out / "gpu_day.tar.gz") as packed:
        names = packed.getnames()
    assert {f"./done/{stage}" for stage in STAGES} <= set(names)
    assert "./validation/dry-run/summary.csv" in names
    assert any(name.startswith("./capture/timing-") for name in names)
    assert not any(name.startswith("./model") for name in names)
    again = gpu_day(tmp_path / "a", "--dry-run", OUT=str(out), PIECES="20K")
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(list(out.iterdir())) > 1
    # Elsewhere it goes on from what was packed.
    more = gpu_day(tmp_path / "b", "--dry-run", "--from", str(out / "gpu_day.tar.gz"))
    assert more.returncode == 0, more.stdout + more.stderr
    assert "".join(f"\n{stage}: done before" for stage in STAGES) in more.stdout


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    pytest.importorskip("transformers", reason="needs the capture extra")
    found = gpu_day(tmp_path)
    assert found.returncode == 2
    assert found.stderr == (
        "gpu_day: torch sees no GPU here; --dry-run goes through all on the CPU\n"
    )
    wrong = gpu_day(tmp_path, "--dryrun")
    assert wrong.returncode == 2
    assert wrong.stderr == "gpu_day: no option --dryrun: --dry-run, --from TAR\n"


def test_a_bare_machine_lists_the_wheels_that_it_lacks() -> None:
    def version(name: str) -> str:
        if name == "simpy":
            raise metadata.PackageNotFoundError(name)
        return "5.17.0" if name == "transformers" else "99"

    absent, old = wheels.missing(wheels.requirements(), version)
    assert absent == ["simpy>=4.1"]
    assert len(old) == 1
    assert old[0].startswith("transformers>=5.")
    said = wheels.advice(absent)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert said.startswith(f"wheels missing here (Python {python}, Linux ")
    assert f"--python-version {python} --platform manylinux_2_28_" in said
    assert "-d wheels 'simpy>=4.1'" in said


@pytest.mark.parametrize("model", MODELS)
def test_its_configs_are_those_of_the_plan(model: str) -> None:
    """Three capacities, four policies, 64 tokens; a replay can run them."""
    pytest.importorskip("torch", reason="a replay needs torch")
    from prefetch_sim.sim.replay.weights import Layout

    file = ROOT / f"experiments/gpu_day/{model}.yaml"
    tree = read_yaml(file)
    assert {path: len(values) for path, values in tree["sweep"].items()} == {
        "cache.capacity": 3,
        "predictor": 4,
    }
    first, last = map(int, tree["tokens"].split(":"))
    assert last - first == 64
    assert tree["model"] == model
    points = plan({**tree, "hardware": "h200"}, str(file))
    for point in (points[0], points[-1]):
        inputs = setup.load(point.config)
        assert len(list(inputs.workload.steps())) == 64
        assert Layout.of(inputs).precision == "bf16"
