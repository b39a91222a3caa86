"""``python -m prefetch_sim.experiments.operator_check``: measures, compares, fills the page."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from prefetch_sim.experiments.documents import fill
from prefetch_sim.experiments.operator_check import report
from prefetch_sim.hardware_profiles import load_runtime
from prefetch_sim.sim.calibration.comparison import compare
from prefetch_sim.sim.calibration.machine import load
from prefetch_sim.sim.calibration.profile import profiles
from prefetch_sim.sim.config.models import load_model


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prefetch_sim.experiments.operator_check", description=__doc__
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder for the results")
    parser.add_argument("--docs", type=Path, help="Markdown file whose marked tables to replace")
    parser.add_argument("--kept", action="store_true", help="measure nothing: take what is kept")
    given = parser.parse_args()
    if not given.kept:
        measure(given.device, given.out)
    tables = report.tables(given.out)
    if given.docs:
        given.docs.write_text(
            fill(given.docs.read_text(encoding="utf-8"), tables), encoding="utf-8"
        )
    print("\n\n".join(tables.values()))


def measure(device: str, out: Path) -> None:
    """Measure on ``device``, and keep operators and figures in ``out``."""
    from prefetch_sim.sim.calibration.measuring.calibrate import measure as calibrate
    from prefetch_sim.sim.calibration.measuring.plan import FULL, PAPER

    busy = load()
    patient = FULL._replace(seconds=600)
    done = calibrate(
        device,  # type: ignore[arg-type]
        None,
        patient,
        [load_model(name) for name in PAPER],
        progress=lambda what, part, of: print(f"{part} of {of}: {what}", flush=True),
    )
    machine = profiles(
        "calibrated", done.machine.name, done.findings, unified=done.machine.device_gib is None
    ).machines[""]
    precision = "f32" if device == "cpu" else "bf16"
    runtime = load_runtime("ideal")
    rows = [
        {**row._asdict(), "load": round(busy, 1)}
        for name in PAPER
        for row in compare(load_model(name), done.operators, machine.profile, runtime, precision)
    ]
    figures = [
        {"figure": path, "value": one.value, "uncertainty": one.uncertainty, "source": one.source}
        for path, one in machine.profile.flat().items()
        if path.startswith("compute.") and one.kind == "measured"
    ]
    out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(out / f"{device}.csv", index=False)
    pd.DataFrame(figures).to_csv(out / f"{device}-figures.csv", index=False)


if __name__ == "__main__":
    main()
