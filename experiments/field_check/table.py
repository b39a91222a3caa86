"""Runs every row: what was published beside what is simulated, and what the checks say."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from typing import Any

from prefetch_sim.experiments.field_check.rows import FOLDER, Check, Row, Study
from prefetch_sim.experiments.field_check.simulate import Values, row_values

Cell = str | float | None
HITS = ("hit", "hit_all")  # compared in points, all else in percent


def _outcome(study: Study, row: Row) -> Values | str:
    """Or why it cannot be run, in one line."""
    try:
        return row_values(study, row)
    except Exception as error:  # whatever it is, the others are to run
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return line.replace(f"{FOLDER}/", "").removeprefix("rows.yaml: ")


def outcomes(
    study: Study, jobs: int, names: Collection[str] | None = None
) -> dict[str, Values | str]:
    """Of each row that is not excluded, or of these; rows of one config are run once."""
    wanted = [
        row for row in study.rows if row.role != "excluded" and (names is None or row.id in names)
    ]
    same: dict[str, Row] = {}
    of = {}
    for row in wanted:
        what = study.tree(row) if row.config is not None else row.link or row.drive
        of[row.id] = str(what) if not isinstance(what, dict) else json.dumps(what, sort_keys=True)
        same.setdefault(of[row.id], row)
    if jobs == 1:
        found = {key: _outcome(study, row) for key, row in same.items()}
    else:
        with ProcessPoolExecutor(jobs) as pool:
            found = dict(zip(same, pool.map(_outcome, [study] * len(same), same.values())))
    return {row.id: found[of[row.id]] for row in wanted}


def row_table(study: Study, found: Mapping[str, Values | str]) -> Iterator[dict[str, Cell]]:
    """One line for each number that was published; ``judged``: the one that its row goes by."""
    for row in study.rows:
        outcome = found.get(row.id, "")
        for i, (quantity, published) in enumerate(row.published.items()):
            cells: dict[str, Cell] = {
                "row": row.id,
                "class": row.cls,
                "role": row.role,
                "quantity": quantity,
                "judged": float(i == 0),
                "published": published,
                "simulated": None,
                "deviation": None,
                "error": outcome if isinstance(outcome, str) else "",
            }
            if not isinstance(outcome, str):
                simulated = float(f"{outcome[quantity]:.5g}")
                cells["simulated"] = simulated
                if quantity in HITS:
                    cells["deviation"] = round(simulated - published, 2)
                else:
                    cells["deviation"] = round(100 * (simulated / published - 1), 2)
            yield cells


def check_table(study: Study, found: Mapping[str, Values | str]) -> Iterator[dict[str, Any]]:
    for check in study.checks:
        values = [found[name] for name in check.rows()]
        if any(isinstance(value, str) for value in values):
            yield {"check": check.id, "simulated": "", "holds": "not run"}
            continue
        numbers = [value[check.of] for value in values if not isinstance(value, str)]
        shown, holds = _judged(check, numbers)
        yield {"check": check.id, "simulated": shown, "holds": "yes" if holds else "no"}


def _judged(check: Check, numbers: list[float]) -> tuple[str, bool]:
    if check.order is not None:
        falls = all(a > b for a, b in pairwise(numbers))
        return ", ".join(f"{x:.4g}" for x in numbers), falls
    if check.ratio is not None:
        x = numbers[0] / numbers[1]
    elif check.difference is not None:
        x = numbers[0] - numbers[1]
    else:
        x = numbers[0]
    low = check.least is None or x >= check.least
    return f"{x:.3g}", low and (check.most is None or x <= check.most)
