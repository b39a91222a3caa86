"""Numbers in the README and its first pages come from committed runs; here they are derived again.

What a failure says is missing is what the page has to say, after ``make results`` if results
have changed.
"""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from pathlib import Path
from statistics import median

import pytest
from cli_support import call

from prefetch_sim.experiments.sweeps.points import plan, read
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse, read_yaml, set_path
from prefetch_sim.sim.config.schema import Capacity
from prefetch_sim.sim.run import run
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.traces.samples import samples

ROOT = Path(__file__).parents[1]
README, RUN, TRUST = (
    (ROOT / page).read_text(encoding="utf-8")
    for page in ("README.md", "docs/reading-a-run.md", "docs/trust.md")
)
CONFIG = ROOT / "experiments/readme.yaml"
AXES = ("hardware", "runtime.kernels", "predictor", "cache.eviction", "cache.capacity")

pytestmark = pytest.mark.skipif("mini-gpt-oss" not in samples(), reason="no bundled sample")


def committed() -> dict[tuple[str, ...], dict[str, str]]:
    with (ROOT / "experiments/results/default/results.csv").open(encoding="utf-8") as file:
        return {tuple(row[f"axis.{a}"] for a in AXES): row for row in csv.DictReader(file)}


def test_the_run_shown_is_what_the_command_says() -> None:
    """Every line that is shown, in its order."""
    said = call("run", CONFIG, cwd=ROOT, COLUMNS="200").stdout.splitlines()
    printed = iter([" ".join(line.split()) for line in said])
    block = RUN.partition("`prefetch-sim run experiments/readme.yaml`")[2].split("```")[1]
    shown = [" ".join(line.split()) for line in block.splitlines() if line.strip()]
    assert len(shown) > 20
    for line in shown:
        assert line in printed, f"not printed, or not there: {line}"  # searches from the last on


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("predictor", "none", "takes {:.0f} ms a token (`--set predictor=none`)"),
        ("runtime.kernels", "fused", "With fused kernels it takes {:.1f} ms"),
    ],
)
def test_the_variants_of_the_run_are_as_quoted(key: str, value: str, says: str) -> None:
    result = run(parse(set_path(read_yaml(CONFIG), key, value), "readme.yaml"))
    assert says.format(result["tpot_ms"]["mean"]) in " ".join(RUN.split())
    if key == "runtime.kernels":
        assert result["prefetch"]["late"] > result["prefetch"]["timely"]


def test_how_far_to_trust_it_quotes_the_field_check() -> None:
    text = " ".join(TRUST.split())
    results = ROOT / "experiments/results/field_check"
    with (results / "rows.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["judged"] == "1.0"]
    off = [
        abs(float(row["deviation"]))
        for row in rows
        if row["role"] == "predicted" and row["quantity"] == "tokens_s"
    ]
    within = sum(x <= 30 for x in off)
    assert f"{len(off)} runs that no figure was fitted to" in text
    assert f"a median of {median(off):.0f} % in tokens/s, {within} of them" in text
    with (results / "traced.csv").open(encoding="utf-8") as file:
        traced = {(row["recording"], row["runtime"]): row for row in csv.DictReader(file)}
    for name, model in (("qwen", "Qwen3-30B-A3B"), ("gptoss", "gpt-oss-120b")):
        row = traced[name, "big-moe-on-edge"]
        cells = [
            " / ".join(
                f"{float(row[f'{of}_{what}']):,.{digits}f}" for of in ("simulated", "measured")
            )
            for what, digits in (("tokens_s", 2), ("wait_ms", 0), ("rest_ms", 0))
        ]
        assert f"| {model} | " + " | ".join(cells) + " |" in text
    alone = [float(traced[name, "ideal"]["simulated_tokens_s"]) for name in ("qwen", "gptoss")]
    assert f"`ideal` runtime it would be {alone[0]:.2f} and {alone[1]:.2f} tokens/s" in text


def test_the_caption_quotes_the_committed_sweep() -> None:
    rows = committed()

    def mean(kernels: str, predictor: str, eviction: str = "lru") -> float:
        return float(rows["rtx-4090", kernels, predictor, eviction, "20%"]["tpot_ms.mean"])

    text = " ".join(README.split())
    alone, early = mean("fused", "none"), mean("fused", "cross-layer")
    for quoted in (
        f"{alone:.1f} ms a token with LRU",
        f"{mean('fused', 'none', 's3-fifo'):.1f} ms with S3-FIFO",
        f"{mean('fused', 'none', 'belady'):.1f} ms with Belady",
        f"takes {1 - early / alone:.0%}".replace("%", " % off"),
        f"({early:.1f} ms)",
        f"{mean('eager', 'none'):.1f} ms without prediction",
        f"{mean('eager', 'oracle'):.1f} ms with a perfect predictor",
        f"{mean('eager', 'cross-layer'):.1f} ms with the trained one",
        f"{mean('eager', 'cross-layer + pre-attention'):.1f} ms where a second one",
    ):
        assert quoted in text


def test_the_panels_of_the_figure_differ() -> None:
    """No eviction gives another's picture, and no predictor another's line."""
    rows = committed()
    curves = {
        (kernels, eviction): [
            float(row["tpot_ms.mean"])
            for key, row in rows.items()
            if key[:2] == ("rtx-4090", kernels) and key[2] == "none" and key[3] == eviction
        ]
        for kernels in ("fused", "eager")
        for eviction in ("lru", "s3-fifo", "belady")
    }
    for kernels in ("fused", "eager"):
        for one, other in (("s3-fifo", "lru"), ("belady", "s3-fifo")):
            ratios = [a / b for a, b in zip(curves[kernels, one], curves[kernels, other])]
            assert len(ratios) == 5
            assert max(ratios) < 1
    hybrid, early, late = (
        float(rows["rtx-4090", "eager", predictor, "lru", "20%"]["tpot_ms.mean"])
        for predictor in ("cross-layer + pre-attention", "cross-layer", "pre-attention")
    )
    assert hybrid < early < late


def test_a_committed_point_comes_out_again() -> None:
    path = ROOT / "experiments/default.yaml"
    points = plan(read(path, []), str(path))
    rows = committed()
    keys = {tuple(point.axes[a] for a in AXES): point for point in points}
    assert keys.keys() == rows.keys()
    key = ("rtx-4090", "eager", "cross-layer + pre-attention", "s3-fifo", "50%")
    result = run(keys[key].config)  # alone, so on the other engine
    assert float(rows[key]["total_ms"]) == pytest.approx(result["total_ms"], abs=1e-6)
    assert int(rows[key]["loads"]) == result["loads"]


def test_no_machine_of_the_default_experiment_holds_the_model() -> None:
    path = ROOT / "experiments/default.yaml"
    points = plan(read(path, []), str(path))
    assert {point.engine for point in points} == {"compiled"}  # together they repay it
    machines = {point.config.hardware.name: point.config for point in points}
    for config in machines.values():
        whole = config.cache.model_copy(update={"capacity": Capacity(share=1)})
        with pytest.raises(ConfigError, match="do not fit"):
            load(config.model_copy(update={"cache": whole}))


def test_the_advice_shown_is_what_the_command_says() -> None:
    """Line by line; "…" stands for what is left out."""
    command, shown = README.split("```sh\n")[1].split("```")[0], README.split("```\n")
    line = next(text for text in command.splitlines() if " advise " in text)
    block = next(text for text in shown if text.startswith("qwen3-30b-a3b Q4_K_M"))
    said = call(*shlex.split(line)[1:], cwd=ROOT, COLUMNS="400").stdout
    printed = " ".join(said.split())
    for part in block.split("```")[0].replace("\n", "…").split("…"):
        piece = " ".join(part.strip(" ();").split())
        assert piece in printed, piece


def test_how_often_the_advice_was_right_is_counted() -> None:
    with (ROOT / "experiments/results/advising/rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    readme, page = (
        " ".join(text.split())
        for text in (README, (ROOT / "docs/advise.md").read_text(encoding="utf-8"))
    )
    asked, inside = Counter[bool](), Counter[bool]()
    for row in rows:
        own = row["own_figures"] == "True"
        asked[own] += 1
        inside[own] += float(row["low"]) <= float(row["measured"]) <= float(row["high"])
    assert f"of {asked[False]} answered by figures from elsewhere, {inside[False]} lie" in readme
    assert f"of {asked[True]} on machines or engines" in readme
    assert f"from the same source, {inside[True]} do" in readme
    assert f"{inside[False]} of {asked[False]} whose figures" in page
    assert f"{inside[True]} of {asked[True]} whose source" in page
