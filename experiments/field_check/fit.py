"""What ``fits`` of rows.yaml names, worked out again: ``python -m ...field_check.fit``.

Least squares on the fitted rows and on nothing else. It prints the figures; who changes the
catalogue changes ``rows.yaml`` with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from prefetch_sim.experiments.field_check.recordings import RECORDINGS, measured
from prefetch_sim.experiments.field_check.rows import Fit, Row, Study, read_study
from prefetch_sim.experiments.field_check.simulate import Steps, by_step, row_values, run
from prefetch_sim.hardware_profiles import load_profile, load_runtime

MIB = 2**20
Floats = npt.NDArray[np.float64]


class Fitter:
    def __init__(self, study: Study, recordings: Path) -> None:
        self.study, self.recordings = study, recordings

    def value(self, fit: Fit) -> float:
        return HOW[fit.figure](self, fit)

    def published(self, name: str) -> float:
        return next(iter(self.study.row(name).published.values()))

    def device(self, name: str) -> tuple[Floats, Floats, Floats]:
        """By step, of the run that a row is of: MiB, waits, all else."""
        run_of = name.removesuffix("-wait").removesuffix("-rest")
        steps = measured(self.recordings, self.study.row(run_of).recording)
        return steps.mib, steps.wait_ms, steps.wall_ms - steps.wait_ms

    def per_mib(self, rows: Sequence[str], which: int) -> float:
        """ms a MiB: the runs' slopes by step, each with an intercept of its own, weighted by how
        well each is known."""
        slopes, weights = [], []
        for name in rows:
            mib, *ms = self.device(name)
            (slope, at_zero), covered = np.polyfit(mib, ms[which], 1), mib - mib.mean()
            left = ms[which] - slope * mib - at_zero
            slopes.append(slope)
            weights.append((covered**2).sum() / (left**2).mean())
        return float(np.average(slopes, weights=weights))

    def least(
        self, fit: Fit, bounds: tuple[float, float], far: Callable[[str, float], float]
    ) -> float:
        """The value between ``bounds`` with the least sum of ``far`` over its rows."""
        found = minimize_scalar(
            lambda value: sum(far(name, value) for name in fit.rows),
            bounds=bounds,
            method="bounded",
            options={"xatol": 1e-3 * bounds[1]},
        )
        return float(found.x)

    def changed(self, name: str, path: str, value: float) -> Row:
        row = self.study.row(name)
        return row.model_copy(update={"config": {**(row.config or {}), path: value}})

    def steps(self, name: str, path: str, value: float) -> Steps:
        return by_step(run(self.study.tree(self.changed(name, path, value)), name))

    def far(self, path: str) -> Callable[[str, float], float]:
        def far(name: str, value: float) -> float:
            (quantity, wanted), *_ = self.study.row(name).published.items()
            return (row_values(self.study, self.changed(name, path, value))[quantity] - wanted) ** 2

        return far


How = Callable[[Fitter, Fit], float]


def _us_per_mib(fitter: Fitter, fit: Fit) -> float:
    """Page faults and the like: less what is charged an expert, at its mean size."""
    miss = load_runtime("big-moe-on-edge").miss
    return 1e3 * fitter.per_mib(fit.rows, 1) - miss.us.value / (2_856_960 / MIB)


def _read_us(fitter: Fitter, fit: Fit) -> float:
    def far(name: str, value: float) -> float:
        simulated = fitter.steps(name, "runtime.load.read_us", value).wait_ms
        return float(((simulated - fitter.device(name)[1]) ** 2).sum())

    return fitter.least(fit, (0, 1_000), far)


def _squares(path: str, bounds: tuple[float, float]) -> How:
    """Least squares on what each row publishes first."""
    return lambda fitter, fit: fitter.least(fit, bounds, fitter.far(path))


def _typical(path: str, bounds: tuple[float, float]) -> How:
    """All but waits by step of the first row's run, least absolute deviations: its hitches should
    count for their number and not for their length."""

    def value(fitter: Fitter, fit: Fit) -> float:
        rest = fitter.device(fit.rows[0])[2]

        def far(name: str, value: float) -> float:
            steps = fitter.steps(name, path, value)
            return float(np.abs(steps.wall_ms - steps.wait_ms - rest).sum())

        return fitter.least(fit.model_copy(update={"rows": fit.rows[:1]}), bounds, far)

    return value


def _rest(path: str, bounds: tuple[float, float]) -> How:
    """The value with which all but waits takes what the last row says."""

    def value(fitter: Fitter, fit: Fit) -> float:
        of_rest = fit.model_copy(update={"rows": fit.rows[-1:]})
        return fitter.least(of_rest, bounds, fitter.far(path))

    return value


def _laptop_gb_s(fitter: Fitter, fit: Fit) -> float:
    return MIB / 1e6 / fitter.per_mib(fit.rows, 0)


def _mean(fitter: Fitter, fit: Fit) -> float:
    return float(np.mean([fitter.published(name) for name in fit.rows]))


def _last(fitter: Fitter, fit: Fit) -> float:
    return fitter.published(fit.rows[-1])


def _phone_drive(fitter: Fitter) -> tuple[float, float]:
    """Rate and latency of one read, from 4 MiB by one lane and 128 KiB by each of two."""
    large = 2**22 / fitter.published("phone-drive-4m-1") / 1e3
    small = 2 * 2**17 / fitter.published("phone-drive-128k-2") / 1e3
    rate = (2**22 - 2**17) / (large - small) / 1e3
    return rate, large - 2**22 / rate / 1e3


def _m5_stream(fitter: Fitter, fit: Fit) -> float:
    us = 2_764_800 / fitter.published("m5-drive-1") / 1e3
    return 2_764_800 / (us - load_profile("m5-pro").storage.latency_us.value) / 1e3


def _imp_layer(fitter: Fitter, fit: Fit) -> float:
    one, other = (1e6 / fitter.published(name) for name in fit.rows)
    return abs(one - other) / 48


_EFFICIENCY = _squares("hardware.compute.expert_efficiency", (0.05, 1))
HOW: dict[str, How] = {
    "runtime.big-moe-on-edge.miss.us_per_mib": _us_per_mib,
    "runtime.big-moe-on-edge.load.read_us": _read_us,
    "hardware.oneplus-15r.compute.expert_efficiency": _EFFICIENCY,
    "hardware.laptop-ddr4.compute.expert_efficiency": _EFFICIENCY,
    "hardware.laptop-ddr4.storage.gb_s": _laptop_gb_s,
    "hardware.oneplus-15r.storage.gb_s": _mean,
    "hardware.oneplus-15r.storage.stream_gb_s": lambda fitter, fit: _phone_drive(fitter)[0],
    "hardware.oneplus-15r.storage.latency_us": lambda fitter, fit: _phone_drive(fitter)[1],
    "hardware.m5-pro.storage.gb_s": _last,
    "hardware.m5-pro.storage.stream_gb_s": _m5_stream,
    "runtime.imp.layer_us": _imp_layer,
    "bases.launches-qwen38.runtime.layer_us": _imp_layer,
    "runtime.big-moe-on-edge.miss.beside_us": _typical("runtime.miss.beside_us", (0, 1_500)),
    "bases.fresh.faster": _squares("faster", (0.5, 2.5)),
    "bases.cooler.faster": _rest("faster", (0.5, 2.5)),
    "bases.observer.cost_us": _rest("predictor.cost_us", (0, 10_000)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=Path, default=RECORDINGS)
    fitter = Fitter(read_study(), parser.parse_args().recordings)
    for fit in fitter.study.fits:
        found = f"{fitter.value(fit):.4g}" if fit.derived else "(from elsewhere)"
        now = fit.catalogued(fitter.study.bases)
        print(f"{fit.figure}: {found}, catalogue {now:g}, rows.yaml {fit.value:g}")


if __name__ == "__main__":
    main()
