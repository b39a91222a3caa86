"""What the points of a sweep differ in: its axes, each under the path that the config has for it.

Beside them stand those that a figure always tells (ALWAYS), swept or not. A predictor's recall is a
dimension of its own; a capacity is the share of all experts, in %; kernels and overlap are as the
runtime has them where the config is silent. An axis whose values are whole mappings is one.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from prefetch_sim.experiments.plots.words import axis_words

ALWAYS = (
    "model", "trace", "hardware", "cache.capacity", "cache.eviction", "predictor", "recall",
)  # fmt: skip
_NAMES = ("name", "policy", "synthetic")  # of a mapping: what its other keys are figures of
_ALIKE = {"hardware.name": "hardware", "hardware.gpu": "hardware", "model.name": "model"}
_WITHIN = ("predictor", "cache.capacity", "cache.eviction")  # paths below are told with these
_WHOLE = ("model", "trace", "hardware")  # told with the figures beside their names
_NO_AXES = ("name",)  # no result depends on it
_PARAMETER = "predictor."  # before the name of one


def told(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...], list[str]]:
    """``frame`` with a column for each dimension, their names (swept ones first), and notes.

    What varies with the axes and is none itself, as a capacity of `fill` does, is a note.
    """
    frame = frame.reset_index(drop=True).copy()  # in one piece: else pandas warns as it grows
    for word in ("kernels", "overlap"):
        if f"runtime.{word}" in frame:
            frame[f"config.runtime.{word}"] = frame[f"runtime.{word}"]
    frame["config.model.name"] = _else(frame, "config.model.name", list(frame["model"]))
    predictors = [json.loads(text) for text in frame["config.predictor"]]
    paths = _paths(frame)
    found = {
        "model": frame["config.model.name"],
        "trace": _else(frame, "config.trace", ["synthetic"] * len(frame)),
        "hardware": frame["config.hardware.name"],
        "cache.capacity": (100 * frame["cache.share"]).round(2),
        "cache.eviction": _values(frame, "cache.eviction", []),
        "predictor": pd.Series([_predictor(p) for p in predictors], frame.index),
        "recall": pd.Series([_recall(p) for p in predictors], frame.index, dtype=float),
    }
    for path in paths:
        if path not in _WITHIN and (path not in found or path in _WHOLE):
            column = _values(frame, path, paths)
            if column.nunique() > 1:
                found[path] = column
    along = [d for d in ("cache.capacity", *_WHOLE) if found[d].nunique() > 1 and d not in paths]
    notes = [f"{axis_words(d)}: {_range(found[d])}" for d in along]
    dimensions = [path for path in found if path not in ALWAYS]
    dimensions += [path for path in ALWAYS if path not in along]
    kept = frame.drop(columns=[name for name in found if name in frame])
    return pd.concat([kept, pd.DataFrame(found)], axis=1), tuple(dimensions), notes


def of_predictors(dimension: str) -> bool:
    """Whether a dimension is a parameter of predictors: those without it have no value there."""
    return dimension == "recall" or dimension.startswith(_PARAMETER)


def spelled(name: str) -> str:
    """The one spelling of what a user calls a dimension."""
    name = name.removeprefix("axis.").removeprefix("config.")
    name = name.replace(f"{_PARAMETER}0.", _PARAMETER)
    return "recall" if name == f"{_PARAMETER}recall" else name


def parameters(frame: pd.DataFrame) -> list[str]:
    """The numbers that single predictors are given, by path, but for recall."""
    given = [json.loads(text) for text in frame["config.predictor"].unique()]
    numbers = (
        key
        for (predictor, *others) in filter(None, given)
        for key, value in predictor.items()
        if not others and isinstance(value, int | float) and not isinstance(value, bool)
    )
    return [_PARAMETER + key for key in dict.fromkeys(numbers) if key != "recall"]


def apart(frame: pd.DataFrame, paths: list[str]) -> pd.DataFrame:
    """``frame`` with a column for each of these parameters, which leave the predictors' names."""
    keys = [path.removeprefix(_PARAMETER) for path in paths]
    predictors = [json.loads(text) for text in frame["config.predictor"]]
    own = [p[0] if len(p) == 1 else {} for p in predictors]
    columns = {
        path: pd.Series([one.get(key) for one in own], frame.index, dtype=float)
        for path, key in zip(paths, keys)
    }
    rest = [
        [{k: v for k, v in p[0].items() if k not in keys}] if len(p) == 1 else p for p in predictors
    ]
    names = pd.Series(map(_predictor, rest), frame.index)
    return frame.assign(**columns, predictor=names)


def all_static(frame: pd.DataFrame) -> bool:
    """Whether in each row static experts leave no room for another."""
    columns = ("cache.bytes", "cache.static.bytes", "cache.static.experts")
    if not len(frame) or not all(column in frame for column in columns):
        return False
    cache, static, experts = (frame[column].astype(float) for column in columns)
    return bool(((experts > 0) & (cache - static < static / experts)).all())


def constants(frame: pd.DataFrame) -> list[str]:
    """What all points have in common beside what dimensions tell: a note each."""
    found = {
        "prefetch.policy": ["config.prefetch.policy"],
        "precision": [f"config.precision.{of}" for of in ("experts", "attention")],
        "runtime": ["runtime.name"],
    }
    notes = []
    for what, columns in found.items():
        if any(column not in frame or frame[column].nunique() != 1 for column in columns):
            continue
        if what == "prefetch.policy" and (frame["config.predictor"] == "[]").all():
            continue
        values = dict.fromkeys(_text(frame[column].dropna().iloc[0]) for column in columns)
        notes.append(f"{what.partition('.')[0]} {' and '.join(values)}")
    return notes


def _range(column: pd.Series[Any]) -> str:
    if column.dtype == float:
        return f"{column.min():g} to {column.max():g}"
    return ", ".join(map(str, column.unique()))


def _paths(frame: pd.DataFrame) -> list[str]:
    """The paths of axes that vary, but that the whole of ``cache`` is what varies in it.

    Where nothing says what the axes were, every key of the config that varies.
    """
    columns = [str(column) for column in frame.columns]
    keys = [
        name.removeprefix("config.")
        for name in columns
        if name.startswith("config.") and frame[name].map(_text).nunique() > 1
    ]
    labels = [name for name in columns if name.startswith("axis.")]
    axes = [name.removeprefix("axis.") for name in labels if frame[name].nunique() > 1]
    found: dict[str, None] = {}
    for axis in axes if labels else keys:
        inner = [key for key in keys if key.startswith("cache.")] if axis == "cache" else [axis]
        for path in inner:
            within = next((one for one in _WITHIN if f"{path}.".startswith(f"{one}.")), path)
            found.setdefault(_ALIKE.get(within, within))
    return [path for path in found if path not in _NO_AXES]


def _values(frame: pd.DataFrame, path: str, paths: list[str]) -> pd.Series[str]:
    """A text for each row: its axis's label, or what the config has there, where labels mislead.

    Two labels may be of one value: one that was given, and the same from where none was.
    """
    texts = _texts(frame, path, [other for other in paths if other.startswith(f"{path}.")])
    label = next((f"axis.{p}" for p in (path, f"{path}.name") if f"axis.{p}" in frame), None)
    if label is None:
        return texts
    labels = frame[label].map(_text)
    if path == "cache.static":  # JSON in one column
        return labels
    pairs = set(zip(labels, texts))
    alike = len(pairs) == labels.nunique() == texts.nunique()
    silent = any(one in ("", "None", "none") and one != other for one, other in pairs)
    return labels if alike and not silent else texts


def _texts(frame: pd.DataFrame, path: str, deeper: list[str]) -> pd.Series[str]:
    """What the config has at ``path`` and, where it varies, below it; not at ``deeper`` paths."""
    top = f"config.{path}"
    inner = [name for name in map(str, frame.columns) if name.startswith(f"{top}.")]
    apart = [f"config.{other}" for other in deeper if other != f"{path}.name"]
    inner = [n for n in inner if not any(f"{n}.".startswith(f"{other}.") for other in apart)]
    own = [f"{top}.{name}" for name in _NAMES if f"{top}.{name}" in inner]
    rest = [n for n in inner if n not in own and frame[n].map(_text).nunique() > 1]
    first = [top] if top in frame else []

    def text(row: Any) -> str:
        words = [_text(row[n]) for n in (*first, *own) if not missing(row[n])]
        words += [
            f"{n.removeprefix(top + '.')} {_text(row[n])}" for n in rest if not missing(row[n])
        ]
        return " ".join(words) or "none"

    rows = frame[[*first, *own, *rest]].to_dict("records") or [{}] * len(frame)
    return pd.Series([text(row) for row in rows], frame.index, dtype=object)


def missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)  # noqa: PLR0124


def _text(value: Any) -> str:
    """A value as people write it: 5 for 5.0, and every digit that tells two apart."""
    if missing(value):
        return "none"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _else(frame: pd.DataFrame, column: str, others: list[Any]) -> pd.Series[str]:
    """A column, and where a row has nothing there, that of ``others``."""
    given = frame[column] if column in frame else [None] * len(frame)
    values = [other if missing(one) else one for one, other in zip(given, others)]
    return pd.Series(values, frame.index, dtype=object)


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
