"""The check's tables in Markdown, from its CSV files and ``rows.yaml`` alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from prefetch_sim.experiments.field_check.rows import Row, Study
from prefetch_sim.experiments.field_check.table import HITS

RESULTS = Path(__file__).resolve().parents[1] / "results" / "field_check"
UNITS = {
    "tokens_s": "tokens/s",
    "ms": "ms a token",
    "wait_ms": "ms of waits",
    "rest_ms": "ms of all else",
    "us": "µs",
    "gb_s": "GB/s",
    "hit": "% hits",
    "hit_all": "% hits",
    "mib_token": "MiB a token",
}
WITHIN = 30  # %


class Results(NamedTuple):
    rows: pd.DataFrame
    checks: pd.DataFrame
    steps: pd.DataFrame


def read(folder: Path) -> Results:
    text = {"error": str, "simulated": str, "holds": str}
    frames = {name: pd.read_csv(folder / f"{name}.csv") for name in ("rows", "steps")}
    checks = pd.read_csv(folder / "checks.csv", dtype=text, keep_default_na=False)
    return Results(frames["rows"], checks, frames["steps"])


def tables(study: Study, results: Results) -> dict[str, str]:
    return {
        "summary": _summary(results.rows),
        "fits": _fits(study),
        "checks": _checks(study, results.checks),
        "predicted": _rows(study, results.rows, "predicted"),
        "steps": _steps(results.steps),
        "fitted": _rows(study, results.rows, "fitted"),
        "shape": _rows(study, results.rows, "shape"),
        "not-run": _not_run(study, results.rows),
        "excluded": _excluded(study),
    }


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def judged(rows: pd.DataFrame, role: str) -> pd.DataFrame:
    """The number that each row of a role goes by."""
    return rows[(rows["role"] == role) & (rows["judged"] == 1)]


def _summary(rows: pd.DataFrame) -> str:
    predicted = judged(rows, "predicted")
    hits = predicted["quantity"].isin(HITS)
    time, quantity = predicted["quantity"].isin(["tokens_s", "ms"]), predicted["class"]
    lines = [
        ("tokens/s", predicted[time]),
        ("… of class A", predicted[time & (quantity == "A")]),
        ("… of class B", predicted[time & (quantity == "B")]),
        ("bytes, and rates of drives", predicted[~time & ~hits]),
    ]
    cells = [
        [title, str(len(frame)), str(int(frame["simulated"].notna().sum())), *_share(frame)]
        for title, frame in lines
    ]
    points = predicted[hits]["deviation"].dropna().abs()
    median = f"{points.median():.1f} points" if len(points) else "–"
    cells.append(["hit rates", str(int(hits.sum())), str(len(points)), median, "–"])
    head = ["predicted rows, judged by", "rows", "run", "median deviation", f"within {WITHIN} %"]
    return _table(head, cells)


def _share(frame: pd.DataFrame) -> tuple[str, str]:
    off = frame["deviation"].dropna().abs()
    if not len(off):
        return "–", "–"
    return f"{off.median():.0f} %", f"{int((off <= WITHIN).sum())} of {len(off)}"


def _fits(study: Study) -> str:
    head = ["figure", "value", "fitted to", "how"]
    rows = [
        [f"`{fit.figure}`", f"{fit.value:g}", ", ".join(fit.rows), fit.how] for fit in study.fits
    ]
    return _table(head, rows)


def _checks(study: Study, checks: pd.DataFrame) -> str:
    said = {row["check"]: row for _, row in checks.iterrows()}
    rows = [
        [check.says, check.published, said[check.id]["simulated"] or "–", said[check.id]["holds"]]
        for check in study.checks
    ]
    return _table(["what must come out", "published", "simulated", "holds"], rows)


def _rows(study: Study, rows: pd.DataFrame, role: str) -> str:
    """Those that ran: one line a row, all that was published of it."""
    head = ["row", "class", "what", "published → simulated", "source", "assumes"]
    lines = []
    for row in study.rows:
        of = rows[(rows["row"] == row.id) & rows["simulated"].notna()]
        if row.role == role and len(of):
            cells = "<br>".join(_cell(line) for _, line in of.iterrows())
            lines.append([row.id, row.cls, row.what, cells, row.source, row.assumes])
    return _table(head, lines)


def _cell(line: pd.Series) -> str:
    unit = " points" if line["quantity"] in HITS else " %"
    off = f"{line['deviation']:+.{1 if line['quantity'] in HITS else 0}f}{unit}"
    shown = f"{line['published']:g} → {line['simulated']:.3g} {UNITS[line['quantity']]}"
    return f"**{shown} ({off})**" if line["judged"] else f"{shown} ({off})"


def _steps(steps: pd.DataFrame) -> str:
    head = ["run", "role", "ms a token (r)", "bytes alone (r)", "waits (r)", "all else (r)"]
    rows = []
    for _, row in steps.iterrows():
        whole, waits, rest = (_by_step(row, part) for part in ("", "wait_", "rest_"))
        alone = row["bytes_correlation"]
        alone = "–" if pd.isna(alone) else f"{alone:.2f}"
        rows.append([row["row"], row["role"], whole, alone, waits, rest])
    return _table(head, rows)


def _by_step(row: pd.Series, part: str) -> str:
    r = row[f"{part}correlation"]
    means = f"{row[f'measured_{part}ms']:.0f} → {row[f'simulated_{part}ms']:.0f}"
    return f"{means} (–)" if pd.isna(r) else f"{means} ({r:.2f})"


def _not_run(study: Study, rows: pd.DataFrame) -> str:
    lines = []
    for row in study.rows:
        of = rows[rows["row"] == row.id]
        if row.role != "excluded" and not of["simulated"].notna().any():
            lines.append([row.id, row.role, _published(row), str(of.iloc[0]["error"])])
    return _table(["row", "role", "published", "why"], lines) if lines else "All rows ran."


def _excluded(study: Study) -> str:
    rows = [
        [row.id, row.cls, row.what, _published(row), row.reason]
        for row in study.rows
        if row.role == "excluded"
    ]
    return _table(["row", "class", "what", "published", "why it is left out"], rows)


def _published(row: Row) -> str:
    return ", ".join(f"{value:g} {UNITS[quantity]}" for quantity, value in row.published.items())
