"""What makes two runs the same run, so that a stored result may stand for a new one.

A result is reused only where config, trace, model, hardware, runtime and code all are what they
were: files are known by content, so moving or touching one repeats nothing, and editing one does.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from prefetch_sim.experiments.sweeps.sources import PACKAGES, ROOT, sources
from prefetch_sim.sim.config.foreign import is_file, is_own
from prefetch_sim.sim.config.schema import SyntheticTrace
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.traces import trace_path

# Keys of a config that only name something, which is here by what it is; `engine` changes nothing.
_NAMES: Any = {
    **dict.fromkeys(("name", "engine", "predictor", "trace", "model", "hardware", "runtime"), True),
    "cache": {"static": {"counts", "experts"}},  # files of them are known by whom they keep
}

# Digests of what a run depends on, by name.
Identity = dict[str, str]


def identify(inputs: Inputs) -> Identity:
    """Everything that the results of this run depend on, its name apart."""
    config = inputs.config
    known = {
        "config": _without_files(config.model_dump(mode="json", exclude=_NAMES)),
        # As understood, so that a default written out is no other run.
        "predictors": [
            [type(predictor).__module__, params.model_dump(mode="json")]
            for _, predictor, params in inputs.predictors
        ],
        "trace": [_trace(config.trace), inputs.workload.trace.model.model_dump(mode="json")],
        "model": inputs.model.model_dump(mode="json"),
        "hardware": inputs.profile.model_dump(mode="json"),
        "runtime": inputs.runtime.model_dump(mode="json"),
        "static": inputs.static,
        "code": _code(),
        "policies": [_sources(module) for module in _foreign(inputs)],
    }
    return {name: _sha256(json.dumps(part, sort_keys=True)) for name, part in known.items()}


def key_of(identity: Identity) -> str:
    """What a result is stored under: either engine's stands for the other's."""
    return _sha256("".join(identity.values()))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _foreign(inputs: Inputs) -> list[str]:
    """Policies by import path, or in files."""
    config = inputs.config
    named = [config.cache.eviction.name, config.prefetch.policy, config.misses.policy]
    named += [name for name, _, _ in inputs.predictors]  # a trace may record one with a dot
    return [name for name in named if is_own(name)]


def files_of(inputs: Inputs) -> Identity:
    """Digests of the policies in files, each with all that it imports; by whole path."""
    files = filter(is_file, _foreign(inputs))
    return {str(Path(name).expanduser().absolute()): file_digest(name) for name in files}


def file_digest(name: str) -> str:
    """What a policy's file is now, by its content; "" where there is none. Nothing is run."""
    found = _sources(name)
    return _sha256(json.dumps(found)) if found else ""


def _without_files(config: Any) -> Any:
    """Policies in files are known by what is in them, wherever one looks from."""
    for policy, key in (
        (config["cache"]["eviction"], "name"),
        (config["prefetch"], "policy"),
        (config["misses"], "policy"),
    ):
        if is_file(policy[key]):
            policy[key] = ""
    return config


def _sources(module: str) -> list[tuple[str, str]]:
    return [(name, _file(path)) for name, path in sorted(sources(module).items())]


def _trace(trace: str | SyntheticTrace | None) -> list[Any]:
    if isinstance(trace, SyntheticTrace):
        drawn = trace.model_dump(mode="json", exclude={"synthetic", "loads_per_step"})
        loads = trace.loads_per_step
        return [drawn, loads and _file(Path(loads).expanduser())]
    assert trace is not None  # in a config that is loaded
    path = trace_path(trace)
    parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    return [_file(part) for part in parts]


@lru_cache(maxsize=1)
def _code() -> str:
    """One digest of the package's sources; its version number does not tell edits apart."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def _file(path: Path) -> str:
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, modified: int) -> str:
    """``size`` and ``modified`` only tell when a file has to be read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
