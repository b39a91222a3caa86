"""Figures of a sweep in Python."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefetch_sim.experiments.api.given import as_arguments, need, need_path
from prefetch_sim.experiments.api.sweeps import Sweep
from prefetch_sim.experiments.output import check_target
from prefetch_sim.experiments.plots.figures import format_of, save
from prefetch_sim.experiments.plots.own import draw
from prefetch_sim.experiments.plots.sheet import Sheet

if TYPE_CHECKING:
    import pandas as pd


def plot(
    results: Sweep | pd.DataFrame | str | os.PathLike[str],
    x: str | None = None,
    y: str = "tpot_ms.mean",
    by: str | Sequence[str] = (),
    where: Mapping[str, object] | Sequence[str] = (),
    *,
    kind: str | None = None,
    size: str = "paper",
    labels: Mapping[str, str] | None = None,
    caption: bool = True,
    out: str | os.PathLike[str] | None = None,
) -> Sheet:
    """Draw measure ``y`` of a sweep along its axis ``x``; a matplotlib Figure.

    ``results``: what ``sweep`` returns, its folder, a ``results.csv``, or a DataFrame of some of
    its rows. ``by``: the axes shown as colours, columns and rows; ``where`` holds others
    (``{"hardware": "l4"}``); ``kind``: lines or heat; ``size``: paper or slide. ``labels``: what
    values, axes and the measure are called (``{"lfu_da.py": "LFU-DA"}``). Without ``caption`` it is
    not drawn, and still in ``figure.caption``. ``out``: a file to write as well, by its ending PNG,
    SVG or PDF. Raises ConfigError for axes that are not there.
    """
    _check(results, {"x": x, "y": y, "kind": kind, "size": size}, by, where)
    given = labels is None or (
        isinstance(labels, Mapping) and _is_texts(labels) and _is_texts(list(labels.values()))
    )
    need(given, "labels", "a mapping of names to labels", labels)
    need(isinstance(caption, bool), "caption", "True or False", caption)
    need_path("out", out)
    if out is not None:
        check_target("out", Path(out))
    source = results.frame if isinstance(results, Sweep) else results
    source = Path(source) if isinstance(source, str | os.PathLike) else source
    with as_arguments():
        figure = draw(source, x, y, by, where, kind, size, labels, caption)
        if out is not None:
            path = Path(out)
            format_of(None, path)
            save(figure, path)
    return figure


def _check(results: object, texts: Mapping[str, object], by: object, where: object) -> None:
    """Raise ConfigError for what is of another type."""
    told = hasattr(results, "columns") or isinstance(results, Sweep | str | os.PathLike)
    need(told, "results", "a sweep, its folder, a file of its results or a DataFrame", results)
    for name, value in texts.items():
        optional = name in ("x", "kind") and value is None
        need(optional or isinstance(value, str), name, "a text", value)
    need(_is_texts(by), "by", "the name of an axis, or a list of them", by)
    need(_is_texts(where), "where", "a mapping of axes to values, or a list of PATH=VALUE", where)


def _is_texts(value: object) -> bool:
    """A text, or several; of a mapping, its keys."""
    return isinstance(value, Collection) and all(isinstance(one, str) for one in value)
