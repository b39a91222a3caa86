"""``python -m prefetch_sim.experiments.advising.check``: asked about runs that were measured.

Rows of the field check to which nothing was fitted are asked as their users would ask, saying of
the machine what their source says. The simulator's own part of each band is made without the rows
of that source. Where a figure of the machine or of the engine is from the same source, by its other
runs, the row is counted apart.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from prefetch_sim.experiments.advising.advice import advise
from prefetch_sim.experiments.advising.answer import Advice
from prefetch_sim.experiments.advising.machine import Here
from prefetch_sim.experiments.advising.near import CHECKED
from prefetch_sim.experiments.advising.question import Question
from prefetch_sim.experiments.documents import fill, table
from prefetch_sim.experiments.field_check.rows import Row, Study, read_study
from prefetch_sim.sim.config.files import parse, read_yaml
from prefetch_sim.sim.setup.inputs import load

ASKED = Path(__file__).with_name("check.yaml")
NOWHERE = Here(None, None, "", 0)  # nothing of the machine at hand is taken


def rows(study: Study) -> list[Row]:
    """Those that can be judged: to which nothing was fitted, by tokens a second."""
    return [
        row
        for row in study.rows
        if row.role == "predicted" and next(iter(row.published)) == "tokens_s"
    ]


def questions() -> dict[str, dict[str, Any]]:
    """What is asked, by row."""
    return dict(read_yaml(ASKED)["asked"])


def left_out() -> dict[str, str]:
    """Why a row is not asked about."""
    return dict(read_yaml(ASKED)["left_out"])


def context_full() -> list[str]:
    """Rows whose prompt had the length of the context that is asked about."""
    return list(read_yaml(ASKED)["context_full"])


def checked(study: Study, name: str) -> dict[str, Any]:
    """What was measured in a row, and what is answered where it is not known."""
    row, asked = study.row(name), questions()[name]
    same = [other.id for other in study.rows if other.source == row.source]
    advice = advise(Question.of(**asked), look=lambda: NOWHERE, without=same)
    speed, measured = advice.speed, row.published["tokens_s"]
    if speed is None:
        raise ValueError(f"{name}: nothing fits")
    expected = speed.tokens_s_at_context if name in context_full() else speed.tokens_s
    low, high = (expected * end / speed.tokens_s for end in (speed.low, speed.high))
    return {
        "row": name,
        "source": row.source,
        "runtime": advice.runtime,
        "model": advice.model,
        "machine": advice.machine,
        "what": what(advice, asked),
        "own_figures": own_figures(row.source, advice),
        "speed": round(speed.tokens_s, 3),
        "measured": measured,
        "expected": round(expected, 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "half_width": round(speed.half_width, 4),
        "inside": low <= measured <= high,
    }


def own_figures(source: str, advice: Advice) -> bool:
    """Whether any figure of the answer's machine or engine names ``source`` as its own."""
    inputs = load(parse(advice.config or {}, "advise"))
    figures = [*inputs.profile.flat().values(), *inputs.runtime.flat().values()]
    return any(source.partition(",")[0] in figure.source for figure in figures)


def what(advice: Advice, asked: dict[str, Any]) -> str:
    """A row in words: where, what, and the split that was asked about."""
    where, split = advice.machine, ""
    for one in advice.taken:
        if one.what == "cpu" and advice.fits != "whole":
            where += f" with {one.value}" + (" (assumed)" if one.how == "assumed" else "")
    if (layers := asked.get("n_cpu_moe")) is not None:
        split = f", --n-cpu-moe {layers}" if layers < 999 else ", all experts on the CPU"
    elif isinstance(cache := asked.get("cache"), dict):
        split = f", {cache['experts']:,} experts cached"
    elif cache is not None:
        split = f", {cache} of experts cached"
    context = f", {asked['context']:,} tokens of context" if "context" in asked else ""
    return f"{advice.model} on {where}{split}{context}"


def parts(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by where the figures that answer them are from, then by engine."""
    own = found["own_figures"].astype(bool)
    engines = {str(name): part for name, part in found.groupby("runtime")}
    return {
        "**figures from elsewhere**": found[~own],
        "**figures of the same source**": found[own],
    } | engines


def answers(found: pd.DataFrame) -> pd.Series:
    """Whether each distinct answer holds for all of its rows.

    Rows share one where they differ in what is not asked, or by the length of context alone.
    """
    return found.groupby(["runtime", "model", "machine", "speed"])["inside"].all()


def tables(found: pd.DataFrame) -> dict[str, str]:
    """In Markdown, from the results alone."""
    shown = [
        [
            row["row"],
            row["what"],
            f"{row['measured']:g}",
            f"{row['expected']:.3g}",
            f"{row['low']:.3g} to {row['high']:.3g}",
            "yes" if row["inside"] else "**no**",
        ]
        for _, row in found.iterrows()
    ]
    head = ["row", "what", "measured", "expected", "band", "inside"]
    off = (found["measured"] / found["expected"] - 1).abs()
    summary = [
        [
            name,
            str(len(part)),
            str(part["source"].nunique()),
            f"{int(part['inside'].sum())} of {len(part)}",
            f"{int(answers(part).sum())} of {len(answers(part))}",
            f"{100 * off[part.index].median():.0f} %",
            f"{100 * part['half_width'].mean():.0f} %",
        ]
        for name, part in parts(found).items()
    ]
    counts = ["rows", "asked", "sources", "inside", "answers", "median off by", "mean half-width"]
    return {
        "summary": table(counts, summary),
        "rows": table(head, shown),
        "left-out": table(["row", "why"], [list(item) for item in left_out().items()]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description=__doc__)
    parser.add_argument("--out", type=Path, default=CHECKED, help="CSV of the results")
    parser.add_argument("--docs", type=Path, help="Markdown file whose marked tables to replace")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    study, names = read_study(), list(questions())
    with ProcessPoolExecutor(given.jobs) as pool:
        found = pd.DataFrame(pool.map(checked, [study] * len(names), names))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(given.out, index=False)
    shown = tables(found)
    if given.docs:
        given.docs.write_text(fill(given.docs.read_text(encoding="utf-8"), shown), encoding="utf-8")
    print("\n\n".join(shown.values()))


if __name__ == "__main__":
    main()
