"""What transformers says of a model or tokenizer that it does not load, in one short line."""

from __future__ import annotations

import re

import transformers

from prefetch_sim.traces.errors import first_line

CODE = (
    "needs code of its own (auto_map in its files), which is not run; load and run it yourself and "
    "give its routing to Trace.from_arrays (docs/trace-format.md)"
)
SEVERAL = "is an encoder-decoder model: only models that write on from a prompt are recorded"
_TYPE = re.compile(r"model type `([^`\n]{1,60})`")


def refusal(error: BaseException) -> str:
    """Why a model is not loaded; known reasons in words that are whole, others as they begin."""
    text = str(error)
    if "custom code" in text or "trust_remote_code" in text:
        return CODE
    if "does not recognize this architecture" in text and (found := _TYPE.search(text)):
        return (
            f"cannot be loaded: transformers {transformers.__version__} does not know its "
            f"model_type {found[1]!r}; a newer one may, or give its routing to Trace.from_arrays "
            "(docs/trace-format.md)"
        )
    if "`model_type` key" in text:
        return "cannot be loaded: its config.json has no model_type"
    if "for this kind of AutoModel" in text:
        return "cannot be loaded: transformers has no such model that writes on from a prompt"
    return f"cannot be loaded: {first_line(error)}"


def no_tokenizer(error: BaseException) -> str:
    """Why a tokenizer is not loaded."""
    text = str(error)
    if "custom code" in text or "trust_remote_code" in text:
        return "it needs code of its own, which is not run"
    if "backend tokenizer" in text:
        return "there is no tokenizer.json, or a package that reads it is not installed"
    return first_line(error)
