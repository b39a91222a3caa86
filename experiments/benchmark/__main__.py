"""``python -m prefetch_sim.experiments.benchmark``: every speed that the documentation quotes.

Ratios are of things measured by turns in one process; the machine's own speed cancels out.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numba
import simpy

from prefetch_sim.experiments.benchmark import caches, engines, scaling


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


FIRST_RUN = """
from prefetch_sim.experiments.benchmark.measure import load, run
print(run(load("50%", requests="0:1", predictor="pre-attention"))[0])
"""


def first_run(cache: Path) -> float:
    """s of the first compiled run of a process, what it keeps or finds being in ``cache``."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_RUN], env=environment, check=True, stdout=subprocess.PIPE
    )
    return float(done.stdout)


def document(recording: Path | None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        compiling, reading = first_run(Path(folder)), first_run(Path(folder))
    parts = {
        "Engines": engines.report(),
        "Against libCacheSim": caches.report(recording),
        "Scaling": scaling.report(),
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    machine = (
        f"{date.today()}, {processor()}, Python {platform.python_version()}, "
        f"numba {numba.__version__}, simpy {simpy.__version__}. First compiled run of a process "
        f"{reading:.1f} s, {compiling:.1f} s where nothing is compiled yet; peak memory of all "
        f"{peak:.1f} GiB."
    )
    return "\n\n".join([machine, *(f"### {name}\n\n{text}" for name, text in parts.items())])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prefetch_sim.experiments.benchmark", description=__doc__
    )
    parser.add_argument("--trace", type=Path, help="a recording of GPT-OSS-20B")
    parser.add_argument("--docs", type=Path, help="file to fill in below its line of dashes")
    given = parser.parse_args()
    found = document(given.trace)
    if given.docs:
        above = given.docs.read_text(encoding="utf-8").partition("\n---\n")[0]
        given.docs.write_text(f"{above}\n---\n\n{found}\n", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
