"""A sweep's results as a table: from its folder, from either file in it, or from a DataFrame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefetch_sim.experiments.sweeps.export import EXPORTS
from prefetch_sim.experiments.sweeps.sound import damaged, short
from prefetch_sim.sim.config.errors import ConfigError

Source = pd.DataFrame | Path | str


def table_of(source: Source) -> tuple[pd.DataFrame, str]:
    """The rows of ``source``, as ``sweep`` writes them, and what errors call it.

    Raises ConfigError where there are none.
    """
    if isinstance(source, pd.DataFrame):
        return source, "these results"
    path = _file(Path(source))
    try:
        return (_csv(path) if path.suffix == ".csv" else _parquet(path)), str(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read ({short(error)})") from error
    except Exception as error:  # whatever a table raises that is no sweep's
        raise damaged(str(path), error) from error


def _file(source: Path) -> Path:
    if source.is_file():
        return source
    found = [path for name in EXPORTS if (path := source / name).is_file()]
    if found:
        return found[0]
    if (source / "sweep.yaml").is_file():
        raise ConfigError(f"{source}: this sweep is not finished; run it again to go on")
    raise ConfigError(f"{source / EXPORTS[0]}: no such file; is {source} a finished sweep?")


def _parquet(path: Path) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(path, page_checksum_verification=True).to_pandas()
    return frame


def _csv(path: Path) -> pd.DataFrame:
    """What was committed is often this alone. Labels are text, lists are JSON in their cells."""
    names = list(pd.read_csv(path, nrows=0).columns)
    labels = {name: str for name in names if name.startswith("axis.")}
    frame = pd.read_csv(path, dtype=labels, keep_default_na=False, na_values=[""], low_memory=False)
    for name in names:
        known = frame[name].dropna()
        if name != "config.predictor" and len(known) and str(known.iloc[0]).startswith("["):
            frame[name] = frame[name].map(_list)
    return frame


def _list(cell: Any) -> Any:
    return json.loads(cell) if isinstance(cell, str) else None
