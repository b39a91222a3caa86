"""From a config with a ``sweep`` to its points, each checked whole before anything runs.

``sweep`` is a mapping of dotted paths to lists, whose points are the plain product, or a list of
such mappings, whose points are put one after another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from prefetch_sim.experiments.runs import HARDLY_MORE, no_decode, why_no_decode
from prefetch_sim.experiments.sweeps.identity import Identity, files_of, identify, key_of
from prefetch_sim.experiments.sweeps.progress import progress
from prefetch_sim.experiments.text import count
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree, is_index, parse, read_config, set_path, spelled
from prefetch_sim.sim.config.foreign import PolicyError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.setup import engine_choice, inputs
from prefetch_sim.sim.setup.engine_choice import Engine


@dataclass(frozen=True)
class Point:
    """One run of a sweep. ``axes`` labels its value of every path that any point sweeps."""

    key: str
    identity: Identity  # what a worker has to find as well
    files: Identity  # digests of policies in files
    config: RunConfig
    axes: dict[str, str]
    shares: tuple[str, str, int, str]  # points alike in its first parts share work in one process
    engine: Engine  # what `auto` is, of all points together
    compilable: int  # its layer-steps, if the compiled engine may run it
    model: str  # its name, also where the config leaves it to the trace
    cache_bytes: int
    model_bytes: int  # of all routed experts
    lap_bytes: int  # of the experts that one token uses
    no_decode: bool  # all its tokens are of prompts
    notes: tuple[str, ...]  # what a person should be told before it runs

    @property
    def work(self) -> tuple[RunConfig, Engine, Identity]:
        """What a worker is given."""
        return self.config, self.engine, self.identity


def read(path: Path, assignments: Sequence[tuple[str, Any]]) -> Tree:
    """The config file with ``assignments`` made. Raises ConfigError."""
    tree = assigned(read_config(path), assignments)
    check(tree, assignments, str(path))
    return tree


def assigned(tree: Tree, assignments: Sequence[tuple[str, Any]]) -> Tree:
    """``tree`` with ``assignments`` made, also of axes: ``sweep.PATH``. Raises ConfigError."""
    for target, value in assignments:
        tree = _set_axis(tree, target, value) or set_path(tree, target, value)
    return tree


def check(tree: Tree, assignments: Sequence[tuple[str, Any]], source: str) -> None:
    """Raise ConfigError where ``tree`` is no sweep, or one that undoes its ``assignments``."""
    blocks = _blocks(tree.get("sweep"), source)
    where = "sweep.0" if isinstance(tree["sweep"], list) else "sweep"
    for target, _ in assignments:
        below = f"{spelled(target)}."
        if all(any(below.startswith(f"{axis}.") for axis in block) for block in blocks):
            raise ConfigError(
                f"--set {target}: every point of the sweep sets it, which would undo this; "
                f"--set '{where}.{target}=[...]' sets the axis"
            )


def _set_axis(tree: Tree, target: str, value: Any) -> Tree | None:
    """``tree`` with the axis that ``target`` names (``sweep.PATH``); None if it names none.

    Of several blocks, one: ``sweep.0.PATH``.
    """
    sweep, _, path = target.partition(".")
    if sweep != "sweep" or not path:
        return None
    blocks = tree.get("sweep", {})
    if isinstance(blocks, dict):
        return {**tree, "sweep": {**blocks, path: value}}
    if not isinstance(blocks, list):
        return None
    number, _, path = path.partition(".")
    if not is_index(number) or int(number) >= len(blocks):
        raise ConfigError(
            f"--set {target}: the sweep has {len(blocks)} blocks; say which, from sweep.0 on"
        )
    block = blocks[int(number)]
    if not path or not isinstance(block, dict):
        return None
    changed = blocks.copy()
    changed[int(number)] = {**block, path: value}
    return {**tree, "sweep": changed}


def plan(tree: Tree, source: str) -> list[Point]:
    """Every point of the sweep in order, without repeats. ``source`` is what errors name.

    Raises ConfigError for the first point that cannot run, naming its axes.
    """
    base = {key: value for key, value in tree.items() if key != "sweep"}
    blocks = _blocks(tree.get("sweep"), source)
    values = [values for block in blocks for values in _products(block)]
    axes = list(dict.fromkeys(path for block in blocks for path in block))
    found: dict[int, Point] = {}
    # Points that read the same columns of the same trace one after another: it is read once.
    order = sorted(range(len(values)), key=lambda i: _reads(base, values[i]))
    with progress("checking points", len(values)) as advance:
        for i in order:
            found[i] = _point(base, values[i], axes, source)
            advance()
    unique: dict[str, Point] = {}
    for i in range(len(values)):
        unique.setdefault(found[i].key, found[i])
    # Of all points, also those that have a result: a sweep that goes on goes on as it began.
    together = sum(point.compilable for point in unique.values())
    return [
        replace(
            point, engine=engine_choice.resolve(point.config.engine, point.compilable, together)
        )
        for point in unique.values()
    ]


def configs(tree: Tree, source: str) -> list[Tree]:
    """The config of each point as it is written, unchecked. Raises ConfigError."""
    base = {key: value for key, value in tree.items() if key != "sweep"}
    blocks = _blocks(tree.get("sweep"), source)
    return [_tree(base, values) for block in blocks for values in _products(block)]


def leaves(tree: Tree) -> dict[str, str]:
    """The dotted path and the label of everything that a config says."""
    return dict(_leaves(tree))


def _point(base: Tree, values: dict[str, Any], paths: list[str], source: str) -> Point:
    own = {path: label(value) for path, value in values.items()}
    where = f"{source} [{', '.join(f'{path}={text}' for path, text in own.items())}]"
    try:
        tree = _tree(base, values)
        config = parse(tree, where)
        checked = inputs.load(config)
        config = checked.config  # with what it leaves open
        resolved = config.model_dump()
        parts = {"cpu": checked.profile.cpu, "storage": checked.profile.storage}
        names = {section: part.name for section, part in parts.items() if part is not None}
        engine_has = {word: getattr(checked.runtime, word) for word in ("kernels", "overlap")}
        for section, known in (("hardware", names), ("runtime", engine_has)):
            resolved[section] = known | resolved[section]  # where the config says nothing
        axes = {
            path: label(_above_other_axes(base, values, path) or _value(resolved, path))
            for path in paths
        }
        config = config.model_copy(update={"name": ", ".join(axes.values())})
        engine = engine_choice.choose(checked)  # one that cannot be had is refused
        identity = identify(checked)
    except PolicyError:
        raise
    except ConfigError as error:
        message = str(error)
        raise ConfigError(
            message if message.startswith(where) else f"{where}: {message}"
        ) from error
    layer = sum(checked.sizes)  # one expert of each
    columns = sorted(checked.workload.trace.predictions)
    cut = [config.requests, config.tokens, config.layers]
    reads = [config.trace, cut, config.batch_size, config.model.top_k, columns]
    predicts = [[choice.model_dump() for choice in config.predictor], config.seed]
    return Point(
        key=key_of(identity),
        identity=identity,
        files=files_of(checked),
        config=config,
        axes=axes,
        shares=(
            json.dumps(reads, default=str),
            json.dumps(predicts, default=str),
            sum(checked.cache_bytes),
            config.cache.model_dump_json(),
        ),
        engine=engine,
        compilable=engine_choice.compilable(checked),
        model=checked.model.name,
        cache_bytes=sum(checked.cache_bytes),
        model_bytes=layer * checked.model.experts,
        lap_bytes=layer * checked.model.top_k,
        no_decode=no_decode(checked),
        notes=checked.notes,
    )


def _tree(base: Tree, values: dict[str, Any]) -> Tree:
    tree = base
    # Parents first: "hardware" must not undo "hardware.host_link.gb_s".
    for path in sorted(values, key=lambda p: p.count(".")):
        tree = set_path(tree, path, values[path])
    return tree


def _above_other_axes(base: Tree, values: dict[str, Any], path: str) -> Any:
    """What stands at ``path`` but for the axes below it, which have labels of their own."""
    return _value(
        _tree(base, {p: v for p, v in values.items() if not p.startswith(f"{path}.")}), path
    )


def _value(tree: Any, path: str) -> Any:
    """What stands at ``path``: None where nothing does."""
    for part in path.split("."):
        if isinstance(tree, list | tuple) and is_index(part) and int(part) < len(tree):
            tree = tree[int(part)]
        elif isinstance(tree, dict):
            tree = tree.get(part)
        else:
            return None
    return tree


def _reads(base: Tree, values: dict[str, Any]) -> str:
    tree = _tree(base, values)
    keys = ("trace", "requests", "tokens", "layers", "batch_size", "model", "predictor")
    return json.dumps([tree.get(key) for key in keys], sort_keys=True, default=str)


def _blocks(sweep: Any, source: str) -> list[dict[str, list[Any]]]:
    if sweep is None:
        raise ConfigError(f"{source}: sweep: missing; write a mapping of dotted paths to lists")
    blocks = sweep if isinstance(sweep, list) else [sweep]
    for block in blocks:
        if not isinstance(block, dict) or not block:
            raise ConfigError(f"{source}: sweep: {block!r} is not a mapping of paths to lists")
        for path, values in block.items():
            if not isinstance(path, str):
                raise ConfigError(f"{source}: sweep: the key {path!r} is not a dotted path")
            if path == "name":
                raise ConfigError(f"{source}: sweep.name: is no axis, as no result depends on it")
            if not isinstance(values, list) or not values:
                raise ConfigError(f"{source}: sweep.{path}: needs a list of values")
        if "hardware.gpu" in block and "hardware.name" in block:
            raise ConfigError(f"{source}: sweep: give hardware.name or hardware.gpu, not both")
    if not blocks:
        raise ConfigError(f"{source}: sweep: no axes")
    return [{spelled(path): values for path, values in block.items()} for block in blocks]


def _products(block: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for combination in product(*block.values()):
        yield dict(zip(block, combination))


def label(value: Any) -> str:
    """A value as people would write it: ``oracle recall=0.8``, ``cross-layer + pre-attention``."""
    if value is None or value in ([], ()):
        return "none"
    if isinstance(value, dict):
        name = [str(value["name"])] if "name" in value else []
        return " ".join(name + [f"{k}={v}" for k, v in _leaves(value) if k != "name"])
    if isinstance(value, list | tuple):
        return " + ".join(map(label, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The dotted path and the label of everything that is set."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, label(value)


def doubts(plan: Sequence[Point]) -> Iterator[str]:
    """What is likely no intention, a line each."""
    prompts = [point for point in plan if point.no_decode]
    if prompts:
        where = f" at {len(prompts)} of {len(plan)} points" if len(prompts) < len(plan) else ""
        why = why_no_decode(prompts[0].config)
        yield f"warning: no decode token is run{where}, so there is no TPOT: {why}"
    small = sum(point.cache_bytes < point.lap_bytes for point in plan)
    if small:
        yield (
            f"warning: the cache of {small} of {count(len(plan), 'point')} is below one lap "
            "(layers x top-k): it cannot hold what one token uses"
        )
    tight = sum(
        bool(point.config.predictor)
        and point.lap_bytes <= point.cache_bytes < HARDLY_MORE * point.lap_bytes
        for point in plan
    )
    if tight:
        yield (
            f"warning: the cache of {tight} of {count(len(plan), 'point')} is hardly more than one "
            "lap: what is prefetched takes the place of what the token uses next"
        )
    yield from dict.fromkeys(note for point in plan for note in point.notes)
