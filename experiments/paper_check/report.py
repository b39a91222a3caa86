"""The check's tables in Markdown, from its CSV files alone, and their places in the document."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from prefetch_sim.experiments.paper_check.paper import EXACT, PREDICTOR_MS, TIMINGS, miss_ms
from prefetch_sim.experiments.paper_check.plan import read_plan
from prefetch_sim.experiments.paper_check.timings import OPERATORS

RESULTS = Path(__file__).with_name("results")
SHORT = {
    "v100-sxm2-32gb": "V100-SXM2-32",
    "a100-pcie-40gb": "A100-40",
    "a100-pcie-80gb": "A100-80",
}
MOE_LAYERS = 26
_RUNTIMES = ("eager", "fused")


class Results(NamedTuple):
    operators: pd.DataFrame
    loads: pd.DataFrame
    windows: pd.DataFrame
    tpot: pd.DataFrame

    def run(self, device: str, runtime: str, predictor: str, variant: str = "pinned") -> pd.Series:
        """The row of one run."""
        wanted = {
            "device": device,
            "runtime": runtime,
            "predictor": predictor,
            "variant": variant,
        }
        frame = self.tpot
        for column, value in wanted.items():
            frame = frame[frame[column] == value]
        assert len(frame) == 1, wanted
        return frame.iloc[0]

    def ms(self, *which: str) -> float:
        return float(self.run(*which)["tpot_ms"])


def read(folder: Path) -> Results:
    return Results(*(pd.read_csv(folder / f"{name}.csv") for name in Results._fields))


def tables(results: Results) -> dict[str, str]:
    return {
        "operators": _timings(results.operators, OPERATORS),
        "loads": _loads(results.loads),
        "windows": _windows(results.windows),
        "arithmetic": _arithmetic(results),
        "ladder": _ladder(results),
        "eager": _eager(results),
        "runtimes": _runtimes(results),
        "traffic": _traffic(results),
        "cache": _cache(results),
        "disk": _disk(results),
        "link": _link(results),
    }


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _timings(frame: pd.DataFrame, order: Iterable[str]) -> str:
    head = ["ms: paper / model (deviation)", *SHORT.values()]
    rows = []
    for what in order:
        cells = [frame[(frame["device"] == d) & (frame["what"] == what)].iloc[0] for d in SHORT]
        rows.append([what.replace("_", " "), *map(_compared, cells)])
    return _table(head, rows)


def _compared(row: pd.Series) -> str:
    paper, model = row["paper_ms"], row["simulated_ms"]
    return f"{paper:.3g} / {model:.3g} ({row['deviation_pct']:+.1f} %)"


def _loads(frame: pd.DataFrame) -> str:
    head = ["6 experts, ms: paper / simulated (deviation)", *SHORT.values()]
    names = {
        ("disk", "check"): "disk → GPU",
        ("pinned", "check"): "pinned memory → GPU",
        ("pinned", "independent"): "the same, link rate not from the paper",
    }
    rows = []
    for (source, link), title in names.items():
        cells = [title]
        for device in SHORT:
            found = frame[
                (frame["device"] == device) & (frame["what"] == source) & (frame["link"] == link)
            ]
            cells.append(_compared(found.iloc[0]) if len(found) else "as above")
        rows.append(cells)
    return _table(head, rows)


def _windows(frame: pd.DataFrame) -> str:
    head = ["ms", *(f"{short}, {runtime}" for short in SHORT.values() for runtime in _RUNTIMES)]
    titles = {
        "window_ms": "normed input → routing known",
        "left": f"… less the predictor's {PREDICTOR_MS}",
        "load_one_ms": "one expert over the link",
        "load_six_ms": "six experts over the link",
        "experts_ms": "expert computation",
    }
    frame = frame.assign(left=frame["window_ms"] - PREDICTOR_MS)
    rows = []
    for column, title in titles.items():
        cells = [
            frame[(frame["device"] == device) & (frame["runtime"] == runtime)][column].iloc[0]
            for device in SHORT
            for runtime in _RUNTIMES
        ]
        rows.append([title, *(f"{ms:.2f}" for ms in cells)])
    return _table(head, rows)


def _arithmetic(results: Results) -> str:
    head = ["ms a token, eager", *SHORT.values()]
    rows: list[list[str]] = [[] for _ in range(9)]
    titles = [
        "compute, all experts resident",
        "miss rate × load, Arch 1 (the paper's claim)",
        "TPOT by that arithmetic",
        "miss rate × load × 26 layers",
        "TPOT by that arithmetic, 26 layers",
        "simulated, Arch 1",
        "miss rate × load × 26, Fate's 78.79 %",
        "TPOT by that arithmetic, 26 layers, Fate",
        "simulated, next-layer",
    ]
    for device in SHORT:
        compute = float(results.run(device, "eager", "none")["compute_ms"])
        one = miss_ms(EXACT["Arch 1"], TIMINGS[device].pinned)
        fate = MOE_LAYERS * miss_ms(EXACT["Fate"], TIMINGS[device].pinned)
        values = [
            f"{compute:.1f}",
            f"+{one:.2f}",
            f"{compute + one:.1f}",
            f"+{MOE_LAYERS * one:.1f}",
            f"{compute + MOE_LAYERS * one:.1f}",
            f"**{results.ms(device, 'eager', 'arch1'):.1f}**",
            f"+{fate:.1f}",
            f"{compute + fate:.1f}",
            f"**{results.ms(device, 'eager', 'next-layer'):.1f}**",
        ]
        for row, value in zip(rows, values):
            row.append(value)
    return _table(head, [[title, *row] for title, row in zip(titles, rows)])


def _ladder(results: Results) -> str:
    head = ["ms a token, eager", *SHORT.values()]
    titles = [
        "loads of correct predictions that outlast the window",
        f"the predictor's {PREDICTOR_MS} ms",
        "wrong predictions",
        "simulated stall, Arch 1",
        "saved against no prefetch",
    ]
    columns = []
    for device in SHORT:
        compute = float(results.run(device, "eager", "none")["compute_ms"])
        none, free, perfect, arch1 = (
            results.ms(device, "eager", name)
            for name in ("none", "perfect-free", "perfect", "arch1")
        )
        columns.append(
            [
                f"{free - compute:.1f}",
                f"{perfect - free:.1f}",
                f"{arch1 - perfect:.1f}",
                f"{arch1 - compute:.1f}",
                f"{none - arch1:.1f}",
            ]
        )
    return _table(head, [[title, *row] for title, row in zip(titles, zip(*columns))])


def _eager(results: Results) -> str:
    head = ["TPOT, ms (against none; hit rate)", *SHORT.values()]
    frame = results.tpot
    frame = frame[(frame["runtime"] == "eager") & (frame["variant"] == "pinned")]
    rows = [
        [name, *(_cell(results, device, "eager", name, "pinned") for device in SHORT)]
        for name in frame["predictor"].unique()
    ]
    return _table(head, rows)


def _runtimes(results: Results) -> str:
    names = ["none", "arch1", "arch1+4-kept", "next-layer", "next-layer-perfect"]
    head = ["TPOT, ms (against none; hit rate)", *names]
    rows = [
        [
            f"{SHORT[device]}, {runtime}",
            *(_cell(results, device, runtime, name, "pinned") for name in names),
        ]
        for runtime in ("eager-overlapped", "fused")
        for device in SHORT
    ]
    return _table(head, rows)


def _cell(results: Results, device: str, runtime: str, predictor: str, variant: str) -> str:
    row = results.run(device, runtime, predictor, variant)
    hit = f"{100 * row['hit_rate']:.1f} %"
    if predictor == "none":
        return f"{row['tpot_ms']:.1f} ({hit})"
    gain = round(100 * (row["tpot_ms"] / results.ms(device, runtime, "none", variant) - 1), 1)
    gain += 0.0  # no "-0.0"
    return f"{row['tpot_ms']:.1f} ({gain:+.1f} %; {hit})"


def _traffic(results: Results) -> str:
    head = ["A100-80", "demand, MB", "prefetched, MB", "useless loads", "cancelled", "link busy"]
    rows = []
    tokens = read_plan()["base"]["trace"]["decode"]
    for runtime, names in (
        ("eager", ("none", "arch1", "arch1+4", "arch1+4-kept", "next-layer")),
        ("fused", ("none", "arch1+4-kept", "next-layer")),
    ):
        for name in names:
            row = results.run("a100-pcie-80gb", runtime, name)
            rows.append(
                [
                    f"{runtime}, {name}",
                    f"{row['link_demand_mb']:.0f}",
                    f"{row['link_prefetch_mb']:.0f}",
                    f"{row['useless'] / tokens:.1f}",
                    f"{row['cancelled'] / tokens:.1f}",
                    f"{100 * row['link_busy']:.0f} %",
                ]
            )
    return _table(head, rows)


def _cache(results: Results) -> str:
    names = ["none", "arch1", "arch1+4", "next-layer", "next-layer-perfect"]
    head = ["TPOT, ms (against none; hit rate)", *names]
    rows = [
        [
            f"{SHORT[device]}, {runtime}, {variant.removeprefix('cache ')}",
            *(_cell(results, device, runtime, name, variant) for name in names),
        ]
        for runtime in ("eager", "fused")
        for device in SHORT
        for variant in ("cache 25 %", "cache 50 %")
    ]
    return _table(head, rows)


def _disk(results: Results) -> str:
    names = ["none", "perfect", "arch1", "arch1+4", "next-layer"]
    head = ["TPOT, ms (against none; hit rate)", *names]
    rows = [
        [
            f"{SHORT[device]}, {runtime}",
            *(_cell(results, device, runtime, name, "disk") for name in names),
        ]
        for runtime in ("eager", "fused")
        for device in SHORT
    ]
    return _table(head, rows)


def _link(results: Results) -> str:
    head = ["TPOT, ms: none / arch1 / next-layer", *SHORT.values()]
    names = ("none", "arch1", "next-layer")
    rows = []
    for runtime in ("eager", "fused"):
        for variant, title in (("pinned", "link × 1"), ("link x2", "× 2"), ("link x4", "× 4")):
            cells = [f"{runtime}, {title}"]
            for device in SHORT:
                times = [results.ms(device, runtime, name, variant) for name in names]
                cells.append(" / ".join(f"{ms:.1f}" for ms in times))
            rows.append(cells)
    return _table(head, rows)
