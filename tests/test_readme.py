"""Numbers in the README come from committed runs; here they are derived again."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from experiments.sweeps.points import plan, read
from sim.config_file import parse, read_yaml
from sim.run import run
from traces.samples import samples

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif("mini-gpt-oss" not in samples(), reason="no bundled sample")


def committed() -> dict[tuple[str, str, str, str], dict[str, str]]:
    with (ROOT / "experiments/results/default/results.csv").open(encoding="utf-8") as file:
        axes = ("hardware", "predictor", "cache.eviction", "cache.capacity")
        return {tuple(row[f"axis.{a}"] for a in axes): row for row in csv.DictReader(file)}  # type: ignore[misc]


def test_the_run_shown_is_what_the_config_gives() -> None:
    result = run(parse(read_yaml(ROOT / "experiments/readme.yaml"), "readme.yaml"))
    shown = {
        "17.0  16.5  32.5  37.0": [result["tpot_ms"][p] for p in ("mean", "p50", "p95", "p99")],
        "1,653": [result["bounds_ms"]["clairvoyant"]],
        "2,506": [result["regret_ms"]],
        "5,729": [result["prefetch"]["late"]],
        "15,859": [result["prefetch"]["redundant"]],
        "2,602": [result["stall_ms"]["late_prefetch"]],
    }
    for text, values in shown.items():
        assert text in README
        quoted = [float(part.replace(",", "")) for part in text.split()]
        assert quoted == pytest.approx(values, rel=0.005)


def test_the_caption_quotes_the_committed_sweep() -> None:
    rows = committed()
    for predictor, eviction, quoted in (
        ("none", "lru", "44.9 ms"),
        ("none", "belady", "22.9 ms"),
        ("oracle", "lru", "43.2 ms"),
        ("cross-layer", "lru", "42.4 ms"),
    ):
        mean = float(rows["rtx-4090", predictor, eviction, "20%"]["tpot_ms.mean"])
        assert f"{mean:.1f} ms" == quoted
        assert quoted in README


def test_a_committed_point_comes_out_again() -> None:
    path = ROOT / "experiments/default.yaml"
    points = plan(read(path, []), str(path))
    rows = committed()
    axes = ("hardware", "predictor", "cache.eviction", "cache.capacity")
    keys = {tuple(point.axes[a] for a in axes): point for point in points}
    assert keys.keys() == rows.keys()
    key = ("rtx-4090", "cross-layer", "least-stale", "50%")
    result = run(keys[key].config)
    assert float(rows[key]["total_ms"]) == pytest.approx(result["total_ms"], abs=1e-6)
    assert int(rows[key]["loads"]) == result["loads"]
