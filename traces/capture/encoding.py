"""Prompts as the token ids that a model is fed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from prefetch_sim.traces.capture.models import Loaded
from prefetch_sim.traces.capture.prompts import Prompt
from prefetch_sim.traces.capture.refusals import no_tokenizer
from prefetch_sim.traces.errors import first_line
from prefetch_sim.traces.trace import TraceError


def encode(loaded: Loaded, file: Path, prompts: list[Prompt], new_tokens: int) -> list[list[int]]:
    """Token ids of each prompt; raises TraceError for what the model cannot be fed."""
    config = loaded.model.config.get_text_config()
    tokenizer = None
    found = []
    for prompt in prompts:
        where = f"{file}: line {prompt.line}"
        if prompt.tokens is not None:
            ids = list(prompt.tokens)
        else:
            tokenizer = tokenizer or _tokenizer(loaded.source, where)
            ids = _words(tokenizer, prompt, loaded.source, where)
        if not ids:
            raise TraceError(f"{where}: the prompt is empty")
        if max(ids) >= config.vocab_size:
            raise TraceError(f"{where}: token {max(ids)}, the vocabulary has {config.vocab_size}")
        room = getattr(config, "max_position_embeddings", None)
        if room is not None and len(ids) + new_tokens > room:
            raise TraceError(
                f"{where}: {len(ids)} + {new_tokens} tokens, the model has {room} positions"
            )
        found.append(ids)
    return found


def _tokenizer(source: Path | str, where: str) -> Any:
    try:
        found = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        reason = "" if len(found.get_vocab()) > len(found.all_special_tokens) else "it is empty"
    except (ValueError, OSError, KeyError, ImportError) as error:
        reason = no_tokenizer(error)
    if reason:
        raise TraceError(
            f"{where}: text needs the model's tokenizer, and {source} has none that loads "
            f"({reason}); give 'tokens'"
        )
    return found


def _words(tokenizer: Any, prompt: Prompt, source: Path | str, where: str) -> list[int]:
    """Token ids of a text, or of messages as the model's chat template puts them.

    After the user's words it is the model's turn; a conversation that ends with the assistant's is
    taken as it is.
    """
    messages = prompt.messages
    if messages is not None and not tokenizer.chat_template:
        raise TraceError(
            f"{where}: messages need a chat template, and the tokenizer of {source} has none; "
            "give 'prompt' or 'tokens'"
        )
    try:
        if messages is None:
            return list(tokenizer(prompt.text)["input_ids"])
        answer = bool(messages) and messages[-1]["role"] != "assistant"
        put = tokenizer.apply_chat_template(
            messages, add_generation_prompt=answer, tokenize=True, return_dict=True
        )
        return list(put["input_ids"])
    except Exception as error:  # a template is a program, which says what it will not take
        how = "tokenizer" if messages is None else "chat template"
        raise TraceError(f"{where}: the model's {how}: {first_line(error)}") from None
