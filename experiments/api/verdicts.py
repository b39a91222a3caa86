"""Comparisons and advice in Python: the numbers, and in a notebook what the commands say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, overload

from prefetch_sim.experiments.advising import advice, answer, words
from prefetch_sim.experiments.advising.question import Question
from prefetch_sim.experiments.api import html
from prefetch_sim.experiments.api.given import Config, as_arguments, named
from prefetch_sim.experiments.api.runs import Run, run
from prefetch_sim.experiments.api.sweeps import Sweep
from prefetch_sim.experiments.comparing import comparison
from prefetch_sim.experiments.comparing import swept as swept_points
from prefetch_sim.experiments.comparing import words as compared_words
from prefetch_sim.experiments.comparing.changed import changes
from prefetch_sim.experiments.comparing.requests import check_same_requests
from prefetch_sim.experiments.sweeps.points import label
from prefetch_sim.hardware_profiles import ProfileError
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import spelled
from prefetch_sim.sim.results.paired import Paired

Side = Mapping[str, Any]


class Comparison(comparison.Comparison):
    """Two runs of the same requests; differences are B - A."""

    @property
    def paired(self) -> Paired:
        """The difference of the mean time per output token, ms, and its 95 % interval.

        ``real``: whether the interval excludes 0, over at least 8 requests (``enough``).
        """
        assert self.tpot_ms.paired is not None  # it is of every pair of runs
        return self.tpot_ms.paired

    @property
    def said(self) -> list[str]:
        """What ``prefetch-sim compare`` says, a sentence or two each."""
        return compared_words.said(self)

    def __repr__(self) -> str:
        return f"<Comparison: {compared_words.verdict(self)}>"

    def _repr_html_(self) -> str:
        changed = html.table(["what differs", "A", "B"], changes(self), right=0)
        facts = html.table(["what explains it", "A", "B"], compared_words.facts(self), right=2)
        return html.block(compared_words.verdict(self), [changed, facts], self.said[1:])


@overload
def compare(one: Run | Config, other: Run | Config, /) -> Comparison: ...


@overload
def compare(swept: Sweep, /, *, a: Side = ..., b: Side = ...) -> list[Place]: ...


def compare(
    one: Run | Config | Sweep,
    other: Run | Config | None = None,
    /,
    *,
    a: Side | None = None,
    b: Side | None = None,
) -> Comparison | list[Place]:
    """Compare two runs, or points of a sweep, over the same requests, paired by request.

    ``one`` and ``other``: runs, or what ``run`` takes. Of a sweep, ``a`` and ``b`` are values of
    its axes by dotted path, ``{"predictor": "none"}``, and each point of ``a`` is compared with
    that of ``b`` that is alike in all other axes. Raises ConfigError where there is no such point,
    or they are not of the same requests.
    """
    if isinstance(one, Sweep):
        if other is not None or not (a or b):
            raise ConfigError("compare: of a sweep, say what differs: a={'predictor': 'none'}")
        return _places(one, a or {}, b or {})
    if other is None or a or b:
        raise ConfigError("compare: give two runs or configs; a= and b= are of a sweep")
    return _runs(one, other)


@dataclass(frozen=True)
class Place(swept_points.Place):
    """Where two points were compared: ``at``, the labels of the axes that A and B share."""

    comparison: Comparison


def _places(swept: Sweep, a: Side, b: Side) -> list[Place]:
    import pyarrow as pa

    def labels(side: Side) -> dict[str, str]:
        tree, _ = named({spelled(path): value for path, value in side.items()})
        return {path: label(value) for path, value in tree.items()}

    rows = pa.Table.from_pandas(swept.frame, preserve_index=False).to_pylist()
    failed = [row for row in rows if row.get("error") is not None]
    rows = [row for row in rows if row.get("error") is None]
    with as_arguments():
        places = swept_points.compare_rows(rows, "the sweep", labels(a), labels(b), failed)
    return [Place(place.at, _as(Comparison, place.comparison)) for place in places]


def _runs(a: Run | Config, b: Run | Config) -> Comparison:
    one, other = (side if isinstance(side, Run) else run(side, records=False) for side in (a, b))
    check_same_requests(one.simulation.inputs, other.simulation.inputs)
    found: Comparison = _as(Comparison, comparison.compared(one.results, other.results))
    return found


class Advice(answer.Advice):
    """What fits, how fast a model decodes on a machine, what limits it and what would help."""

    @property
    def said(self) -> list[tuple[str, str]]:
        """What ``prefetch-sim advise`` prints: (of what, what)."""
        return list(words.lines(self))

    def __repr__(self) -> str:
        return f"<Advice: {words.title(self)}>"

    def _repr_html_(self) -> str:
        return html.block(words.title(self), [html.table(["", ""], self.said, right=0)])


def advise(
    model: str,
    *,
    gpu: str | None = None,
    ram: str | float | None = None,
    quant: str | None = None,
    context: int | None = None,
    runtime: str | None = None,
    cpu: str | None = None,
    drive: str | float | None = None,
    link: str | float | None = None,
    n_cpu_moe: int | None = None,
    cache: str | None = None,
    target: str | float | None = None,
) -> Advice:
    """Say how fast ``model`` decodes on a machine, as ``prefetch-sim advise`` does.

    All is as on the command line (``gpu="RTX 3060 12GB"``, ``ram="32GB"``, ``quant="Q4_K_M"``,
    ``target="20tok/s"``), and a number is as its text there: ``ram=32`` is 32 GB. What is left out
    is detected here, or assumed and said. Raises ConfigError for what is not known.
    """
    question = Question.of(
        model=model,
        gpu=gpu,
        ram=ram,
        quant=quant,
        context=context,
        runtime=runtime,
        cpu=cpu,
        drive=drive,
        link=link,
        n_cpu_moe=n_cpu_moe,
        cache=cache,
        target=target,
    )
    try:
        found: Advice = _as(Advice, advice.advise(question))
    except ProfileError as error:
        raise ConfigError(str(error)) from error
    return found


def _as(kind: Any, found: Any) -> Any:
    """``found``, a dataclass, as one of its subclasses."""
    return kind(**{one.name: getattr(found, one.name) for one in fields(found)})
