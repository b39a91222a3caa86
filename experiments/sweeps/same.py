"""Whether a sweep may go on in the folder of another: only where it keeps all its points.

So a sweep may grow, by values, axes and blocks, and what was an only value may become an axis. One
that lacks a point of the earlier would leave it out of the tables without a word.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from prefetch_sim.experiments.sweeps import points
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree, parse, read_yaml
from prefetch_sim.sim.config.paths import absolute

_NO_PART = {"name", "engine"}  # of a config: no result depends on them
_TOLD = 3  # paths that an error names


def check_same(folder: Path, tree: Tree) -> None:
    """Refuse a folder that holds points which are none of ``tree``. Raises ConfigError.

    ``tree`` as its file in ``folder`` has to say it.
    """
    path = folder / "sweep.yaml"
    if not path.is_file():
        return
    now = _configs(tree, folder, "sweep")
    cure = f"give another folder, or remove {path} to begin anew there"
    try:
        before = _configs(read_yaml(path), folder, str(path))
    except ConfigError as error:
        raise ConfigError(f"--out {folder}: of what is there: {error}; {cure}") from error
    gone = [config for key, config in before.items() if key not in now]
    if gone:
        raise ConfigError(
            f"--out {folder}: holds another sweep, {len(gone)} of whose {len(before)} points this "
            f"one has not ({_difference(gone[0], list(now.values()))}); {cure}"
        )


def _configs(tree: Tree, folder: Path, source: str) -> dict[str, Tree]:
    """The points by what tells them apart, wherever their paths start."""
    return {_key(config): config for config in points.configs(absolute(tree, folder), source)}


def _key(config: Tree) -> str:
    """The same for configs that are one run; of one that this version cannot read, its text."""
    try:
        return parse(config, "").model_dump_json(exclude=_NO_PART)
    except ConfigError:
        return json.dumps(config, sort_keys=True, default=str)


def _difference(config: Tree, others: Sequence[Tree]) -> str:
    """Where ``config`` differs from the one of ``others`` that is nearest to it."""
    mine = points.leaves(config)

    def apart(other: Tree) -> dict[str, str]:
        theirs = points.leaves(other)
        paths = [path for path in {**mine, **theirs} if path.split(".")[0] not in _NO_PART]
        return {
            path: f"{path} {mine.get(path, 'left out')} there, {theirs.get(path, 'left out')} here"
            for path in paths
            if mine.get(path) != theirs.get(path)
        }

    told = list(min(map(apart, others), key=len).values())
    return "; ".join([*told[:_TOLD], *(["..."] if len(told) > _TOLD else [])])
