"""The tables of docs/calibration.md, from what was measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prefetch_sim.sim.calibration.comparison import LAYER

RESULTS = Path(__file__).with_name("results")
_DEVICES = ("cpu", "cuda")
_CLOSE = 10.0  # %: what is further off is explained on the page
_SIZES = {
    "layer": "after {:,} tokens",
    "attention": "after {:,} tokens",
    "expert": "on {:,} tokens",
}


def tables(folder: Path) -> dict[str, str]:
    """Markdown by the table's name, of every device that was measured."""
    found = {}
    for device in _DEVICES:
        if (folder / f"{device}.csv").exists():
            rows = pd.read_csv(folder / f"{device}.csv")
            found[f"{device} figures"] = _figures(pd.read_csv(folder / f"{device}-figures.csv"))
            found[f"{device} operators"] = f"{_summary(rows)}\n\n{_operators(rows)}"
    return found


def _figures(rows: pd.DataFrame) -> str:
    lines = ["| figure | value | ± | where from |", "|---|---:|---:|---|"]
    for row in rows.itertuples():
        lines.append(
            f"| `{row.figure}` | {row.value:g} | {100 * float(str(row.uncertainty)):.0f} % "
            f"| {row.source} |"
        )
    return "\n".join(lines)


def _summary(rows: pd.DataFrame) -> str:
    said = []
    for what, some in (
        ("operators", rows[rows["operator"] != LAYER]),
        ("layers", rows[rows["operator"] == LAYER]),
    ):
        off = some["off_pct"].abs()
        said.append(
            f"{int((off <= _CLOSE).sum())} of {len(some)} {what} are predicted to within "
            f"{_CLOSE:.0f} %, the median is {off.median():.0f} % off"
        )
    busy = rows["load"].iloc[0]
    return f"{said[0]}; {said[1]}. Load of the machine at the start, beside this: {busy:g}."


def _operators(rows: pd.DataFrame) -> str:
    """A row an operator, a column a model: measured µs, and how far off the prediction is."""
    models = list(dict.fromkeys(rows["model"]))
    lines = [
        f"| operator | {' | '.join(models)} |",
        f"|---|{'---:|' * len(models)}",
    ]
    cells = {
        (row.model, row.operator, row.size): f"{_us(row.measured_us)} ({_off(row.off_pct)})"
        for row in rows.itertuples()
    }
    for operator, size in dict.fromkeys((row.operator, row.size) for row in rows.itertuples()):
        found = " | ".join(cells.get((model, operator, size), "–") for model in models)
        lines.append(f"| {_name(str(operator), int(str(size)))} | {found} |")
    return "\n".join(lines)


def _name(operator: str, size: int) -> str:
    if operator == "expert" and size == 1:
        return "expert on 1 token"
    return f"{operator} {_SIZES[operator].format(size)}" if operator in _SIZES else operator


def _us(value: object) -> str:
    return f"{float(str(value)):,.0f}"


def _off(value: object) -> str:
    off = float(str(value))
    text = f"{off:+.0f} %".replace("-", "−")
    return f"**{text}**" if abs(off) > _CLOSE else text
