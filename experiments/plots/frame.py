"""A sweep's results by dimension, and cuts through them that never mix points unseen.

Dimensions are what the points differ in: model, trace, predictor, recall (of a single oracle),
eviction, hardware, capacity, and any other config key that varies, under its own path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefetch_sim.sim.config.errors import ConfigError

MAIN = ("model", "trace", "predictor", "recall", "eviction", "hardware", "capacity")
_CONSUMED = (
    "config.name",
    "config.predictor",
    "config.hardware.name",
    "config.model.name",
    "config.trace",
)
_PREFIXES = ("config.cache.eviction.", "config.cache.capacity.")


@dataclass(frozen=True)
class Cut:
    """Some of a sweep's points. ``fixed`` says, by dimension, at what the rest was held."""

    frame: pd.DataFrame
    others: tuple[str, ...]  # dimensions beside MAIN
    fixed: Mapping[str, str] = field(default_factory=dict)

    def where(self, chosen: pd.Series[bool]) -> Cut:
        return replace(self, frame=self.frame[chosen])

    def values(self, dimension: str) -> list[Any]:
        """The values that occur, in the sweep's order; no recall is no value."""
        return list(self.frame[dimension].dropna().unique())

    def numbers(self, dimension: str) -> dict[str, float]:
        """The values of a dimension that were given, as numbers; nothing where one is not."""
        try:
            return {v: float(v) for v in self.values(dimension) if v != "none"}
        except ValueError:
            return {}

    def varies(self, dimension: str) -> bool:
        return len(self.values(dimension)) > 1

    def sampled(self, dimension: str) -> Cut:
        """Only the points of those conditions under which ``dimension`` was varied."""
        rest = [d for d in (*self.others, *MAIN) if d != dimension]
        counts = self.frame.groupby(rest, dropna=False)[dimension].transform("nunique")
        return self.where(counts > 1)

    def held(self, free: Sequence[str]) -> Cut:
        """Every dimension but ``free`` held at one value: the one that leaves most points.

        Between equals, the first of the sweep; recall, which only oracles have, at its highest.
        """
        cut = self
        for dimension in (*self.others, *MAIN):
            if dimension in free:
                continue
            values = cut.values(dimension)
            if not values:
                continue
            column = cut.frame[dimension]
            if dimension == "recall":
                value = max(values)
                cut = cut.where(column.isna() | (column == value))
            else:
                value = max(values, key=lambda v: int((column == v).sum()))
                cut = cut.where(column == value)
            # A figure can be read alone, so that what did not vary is told; only that an oracle
            # is not degraded goes without saying.
            untold = dimension not in cut.fixed and (dimension, value) != ("recall", 1)
            if len(values) > 1 or untold:
                note = _note(dimension, value, len(values))
                cut = replace(cut, fixed={**cut.fixed, dimension: note})
        return cut


def read(folder: Path) -> Cut:
    """The finished points of a sweep. Raises ConfigError where there are none."""
    path = folder / "results.parquet"
    if (folder / "sweep.yaml").is_file() and not path.exists():
        raise ConfigError(f"{folder}: this sweep is not finished; run it again to go on")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; is {folder} a finished sweep?")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        return _cut(path, table.to_pandas())
    except ConfigError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read ({_short(error)})") from error
    except Exception as error:  # whatever a table raises that is no sweep's
        raise ConfigError(
            f"{path}: damaged, or not the results of a sweep ({_short(error)})"
        ) from error


def _short(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _cut(path: Path, frame: pd.DataFrame) -> Cut:
    if "error" in frame:
        frame = frame[frame["error"].isna()]
    if "tpot_ms.mean" not in frame or frame["tpot_ms.mean"].isna().all():
        raise ConfigError(f"{path}: no point of this sweep has a result")
    frame = frame.reset_index(drop=True)
    predictors = [json.loads(text) for text in frame["config.predictor"]]
    frame["predictor"] = [_predictor(p) for p in predictors]
    frame["recall"] = [_recall(p) for p in predictors]
    eviction = [c for c in map(str, frame.columns) if c.startswith("config.cache.eviction.")]
    frame["eviction"] = frame[eviction].apply(
        lambda row: " ".join(str(v) for v in row if not _missing(v)), axis=1
    )
    frame["hardware"] = frame["config.hardware.name"]
    for word in ("kernels", "overlap"):  # as the runtime has it, where the config does not say
        if f"runtime.{word}" in frame:
            frame[f"config.runtime.{word}"] = frame[f"runtime.{word}"]
    # Two files may call their models the same.
    frame["model"] = frame["config.model.name"].fillna(frame["model"])
    frame["trace"] = _traces(frame)
    frame["capacity"] = (100 * frame["cache.share"]).round(2)
    others = [c for c in map(str, frame.columns) if c.startswith("config.") and _is_other(frame, c)]
    for column in others:
        frame[column] = frame[column].map(lambda v: "none" if _missing(v) else str(v))
    return Cut(_told_apart(frame, [*others, *MAIN]), tuple(others))


def _told_apart(frame: pd.DataFrame, dimensions: list[str]) -> pd.DataFrame:
    """One row for each place in the ``dimensions``. Raises ConfigError where two rows differ."""
    # The same capacity written in two ways, say: the same run.
    frame = frame.drop_duplicates([*dimensions, "cache.bytes", "total_ms"], ignore_index=True)
    same = frame[frame.duplicated(dimensions, keep=False)]
    if len(same):
        one, other = same.sort_values(dimensions)["name"].iloc[:2]
        raise ConfigError(f"figures cannot tell these points apart: {one!r} and {other!r}")
    return frame


def _traces(frame: pd.DataFrame) -> pd.Series[str]:
    """Where the routing is from; parameters of synthetic routing are dimensions of their own."""
    if "config.trace" not in frame:  # no point names a recording
        return pd.Series("synthetic", frame.index)
    return frame["config.trace"].fillna("synthetic")


def title_of(dimension: str, value: Any) -> str:
    if dimension == "capacity":
        return f"cache {value:g} % of experts"
    if dimension == "recall":
        return f"oracle recall {value:g}"
    if dimension == "trace":
        return f"trace {Path(value).name}"
    return f"{dimension.removeprefix('config.')} {value}" if dimension not in MAIN else str(value)


def _note(dimension: str, value: Any, of: int) -> str:
    return title_of(dimension, value) + (f" (1 of {of} swept)" if of > 1 else "")


def _is_other(frame: pd.DataFrame, column: str) -> bool:
    if column in _CONSUMED or column.startswith(_PREFIXES):
        return False
    return len({str(v) for v in frame[column]}) > 1


def _missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN


def _predictor(predictors: list[dict[str, Any]]) -> str:
    if _recall(predictors) is not None:
        predictors = [{k: v for k, v in predictors[0].items() if k != "recall"}]
    return " + ".join(map(_named, predictors)) or "none"


def _named(predictor: dict[str, Any]) -> str:
    name = predictor.get("column", predictor["name"])
    rest = [f"{k} {v}" for k, v in predictor.items() if k not in ("name", "column")]
    return " ".join([name, *rest])


def _recall(predictors: list[dict[str, Any]]) -> float | None:
    """The recall of a single oracle; of anything else, none."""
    if len(predictors) == 1 and predictors[0]["name"] == "oracle":
        return float(predictors[0].get("recall", 1.0))
    return None
