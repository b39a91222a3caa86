"""What is said of policies of a user's own, beside what they gain."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from prefetch_sim.experiments.comparing.comparison import Comparison, Results
from prefetch_sim.experiments.conclusions.unchecked import unchecked
from prefetch_sim.experiments.runs import silent
from prefetch_sim.experiments.sweeps.export import FILES
from prefetch_sim.experiments.sweeps.identity import file_digest


def of_policies(places: Sequence[Comparison]) -> list[str]:
    """All that is said of them."""
    return [*said_nothing(places), *foresight(places), *changed_since(places)]


def said_nothing(places: Sequence[Comparison]) -> Iterator[str]:
    """A line for each predictor that named nobody in a whole run of A or of B."""
    for side, results in (("A", [c.a for c in places]), ("B", [c.b for c in places])):
        for name, at in Counter(name for found in results for name in silent(found)).items():
            where = f" at {at} of {len(places)} places" if len(places) > 1 else ""
            yield f"In {side} the predictor {name!r} said nothing in the whole run{where}."


def foresight(places: Sequence[Comparison]) -> list[str]:
    """Which predictors of a user's own may look ahead, for all that is known."""
    labels = (label for c in places for side in (c.a, c.b) for label in side["predictors"])
    return unchecked(re.sub(r"\.\d+$", "", label) for label in labels)  # a name that is there twice


def changed_since(places: Sequence[Comparison]) -> list[str]:
    """Which policies' files are no longer what points of a sweep ran, so that these are no news."""
    ran = {pair for c in places for side in (c.a, c.b) for pair in _files(side)}
    found = {path for path, digest in ran if file_digest(path) not in ("", digest)}
    changed = sorted(map(_as_seen_from_here, found))
    if not changed:
        return []
    have, it = ("has", "it") if len(changed) == 1 else ("have", "they")
    was = "was" if it == "it" else "were"
    return [
        f"{' and '.join(changed)} {have} changed since: these are results of what {it} {was}; run "
        "the sweep again."
    ]


def _files(side: Results) -> Iterator[tuple[str, str]]:
    """(whole path, digest) of the policies in files of a point, as far as its row can be read."""
    try:
        found = json.loads(side.get(FILES) or "{}")
    except (TypeError, ValueError):  # of a table that was edited
        return
    if isinstance(found, dict):
        yield from ((path, str(digest)) for path, digest in found.items())


def _as_seen_from_here(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
