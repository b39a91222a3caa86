"""Whether a sweep may go on in the folder of another: only where it keeps all its points.

So a sweep may grow, by values, axes and blocks, and what was an only value may become an axis. One
that lacks a point of the earlier would leave it out of the tables without a word.

A folder may be moved, and then the paths in its file lead nowhere: what this sweep has under the
same name is meant. Whether that is the same file is no matter here, as results are kept by content.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
    tree = absolute(tree, folder)
    now = _configs(tree, "sweep")
    cure = f"give another folder, or remove {path} to begin anew there"
    try:
        earlier = _found_again(absolute(read_yaml(path), folder), _by_name(tree))
        before = _configs(earlier, str(path))
    except ConfigError as error:
        raise ConfigError(f"--out {folder}: of what is there: {error}; {cure}") from error
    gone = [config for key, config in before.items() if key not in now]
    if gone:
        lost = next((text for text in _texts(gone[0]) if _leads_nowhere(text)), None)
        moved = f"; was it moved? there is no {lost}" if lost else ""
        raise ConfigError(
            f"--out {folder}: holds another sweep, {len(gone)} of whose {len(before)} points this "
            f"one has not ({_difference(gone[0], list(now.values()))}){moved}; {cure}"
        )


def _configs(tree: Tree, source: str) -> dict[str, Tree]:
    """The points by what tells them apart."""
    return {_key(config): config for config in points.configs(tree, source)}


def _found_again(value: Any, here: dict[str, str]) -> Any:
    """``value`` of a config, with paths that lead nowhere replaced by what is ``here`` by name."""
    if isinstance(value, dict):
        return {key: _found_again(one, here) for key, one in value.items()}
    if isinstance(value, list):
        return [_found_again(one, here) for one in value]
    if isinstance(value, str) and _leads_nowhere(value):
        return here.get(os.path.basename(value), value)
    return value


def _by_name(tree: Tree) -> dict[str, str]:
    """The paths of ``tree`` by their last part, where one alone has it."""
    found: dict[str, set[str]] = {}
    for text in _texts(tree):
        if os.path.isabs(text) and not _leads_nowhere(text):
            found.setdefault(os.path.basename(text), set()).add(text)
    return {name: paths.pop() for name, paths in found.items() if len(paths) == 1}


def _texts(value: Any) -> Iterator[str]:
    """Every text that is a value in ``value``."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _leads_nowhere(text: str) -> bool:
    return os.path.isabs(text) and not os.path.lexists(text)


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
