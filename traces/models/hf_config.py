"""Model shapes from a Hugging Face ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from prefetch_sim.traces.errors import describe, shown
from prefetch_sim.traces.models.families import FAMILIES, REFUSED, TIED
from prefetch_sim.traces.models.keys import Config, ModelConfigError, count
from prefetch_sim.traces.models.precision import Precision, Published, Stored
from prefetch_sim.traces.models.quantisation import QuantisationError, published
from prefetch_sim.traces.models.spec import MOST_LAYERS, ModelSpec

__all__ = ["ModelConfigError", "read_hf_config"]

# Where models that also see or hear keep what is said of their text.
_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")
_DEEPEST = 4
_LISTED = 60  # letters of a list of names in an error


def read_hf_config(
    config: Config,
    name: str | None = None,
    *,
    beside: Mapping[str, Config] | None = None,
    precision: Stored = None,
) -> ModelSpec:
    """The shape of the model that ``config``, the parsed config.json, describes.

    ``name`` defaults to the last part of ``_name_or_path``, then to the model_type. ``beside``: the
    contents of ``quantisation.FILES`` that lie beside it, by name. ``precision``: what a run says
    its weights are in, for a quantisation that cannot be read. Raises ModelConfigError naming a
    missing or wrong key, or a model_type that is not supported.
    """
    text = _text(config)
    family = _family(config, text)
    path = str(config.get("_name_or_path") or family)
    given = text.get("num_hidden_layers", text.get("n_layers"))
    if type(given) is int and given > MOST_LAYERS:
        raise ModelConfigError(f"config.json: num_hidden_layers: more than {MOST_LAYERS:,}")
    try:
        own = FAMILIES[family](text)
        fields: dict[str, Any] = {
            "name": name or path.rstrip("/").rsplit("/", 1)[-1],
            "tied_embeddings": bool(text.get("tie_word_embeddings", family in TIED)),
            **own,
        }
        for field, *keys in (
            ("layers", "num_hidden_layers"),
            ("hidden", "hidden_size"),
            ("top_k", "num_experts_per_tok", "experts_per_token", "num_experts_per_token"),
            ("vocab", "vocab_size"),
        ):
            if field not in fields:
                fields[field] = count(text, *keys)
        fields["precision"] = _precision(text, beside or {}, fields, precision)
        return ModelSpec(**fields)
    except ValidationError as error:
        raise ModelConfigError(f"config.json: {describe(error, ModelSpec)}") from None


def _text(config: Config, depth: int = 0) -> Config:
    """``config`` with what it says of its text in place of what it says of all."""
    for key in _NESTED:
        inner = config.get(key)
        if isinstance(inner, dict):
            if depth == _DEEPEST:
                raise ModelConfigError(f"config.json: {key}: more than {_DEEPEST} in each other")
            inner = _text(inner, depth + 1)
            outer = {k: v for k, v in config.items() if k not in _NESTED and v is not None}
            tied = {k: outer[k] for k in ("tie_word_embeddings",) if k in outer}
            return {**outer, **{k: v for k, v in inner.items() if v is not None}, **tied}
    return config


def _family(config: Config, text: Config) -> str:
    types = [text.get("model_type"), config.get("model_type")]
    for given in types:
        for family in (
            given,
            str(given).removesuffix("_text"),
            str(given).removesuffix("_thinker"),
        ):
            if isinstance(family, str) and family in FAMILIES:
                return family
    given = config.get("model_type")
    for family in map(str, types):
        reason = REFUSED.get(family.removesuffix("_text"))
        if reason:
            raise ModelConfigError(
                f"config.json: model_type {shown(given)} is not supported: {reason}"
            )
    none = "" if any("expert" in key for key in text) else " (and it states no experts)"
    listed = ", ".join(sorted(FAMILIES))[:_LISTED].rsplit(",", 1)[0]
    raise ModelConfigError(
        f"config.json: model_type {shown(given)} is not supported{none}; known: {listed} and "
        f"{len(FAMILIES) - listed.count(',') - 1} more, see docs/config.md; there is also how a "
        "model is a YAML file, or a known one with other figures: {name: mixtral-8x7b, layers: 4}"
    )


def _precision(
    config: Config, beside: Mapping[str, Config], fields: dict[str, Any], given: Stored
) -> Published:
    try:
        return published(config, beside, fields["layers"], fields["experts"])
    except QuantisationError:
        # What is given says it of the experts; the rest is taken to have 16 bits.
        if given is None or Precision.of(given).experts is None:
            raise
        return Published()
