"""Prompts of a capture: JSON lines, one request each.

``{"prompt": "text"}`` or ``{"tokens": [ids]}``, and optionally ``"document": "name"``: requests
from the same document are kept on one side of every split.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefetch_sim.traces.errors import did_you_mean
from prefetch_sim.traces.trace import TraceError

_KEYS = ("prompt", "tokens", "document")


@dataclass(frozen=True)
class Prompt:
    """A text or its token ids; ``line`` in the file counts from 1."""

    line: int
    text: str | None
    tokens: tuple[int, ...] | None
    document: str | None

    @property
    def document_number(self) -> int:
        """A number for the document's name, or for the prompt itself where it has none: 63 bits."""
        said = self.document if self.document is not None else repr((self.text, self.tokens))
        text = said.encode(errors="surrogatepass")  # JSON may hold half a character
        digest = hashlib.blake2b(text, digest_size=8, person=b"document").digest()
        return int.from_bytes(digest) >> 1


def read_prompts(path: Path) -> list[Prompt]:
    """Every prompt of the file. Raises TraceError naming the line at fault."""
    try:
        # Not splitlines: a JSON string may hold other characters that it takes for line ends.
        lines = path.read_bytes().decode().split("\n")
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not UTF-8 text at byte {error.start}") from None
    found = [
        _prompt(f"{path}: line {number}", number, line)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not found:
        raise TraceError(f"{path}: no prompts")
    return found


def _prompt(where: str, number: int, line: str) -> Prompt:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{where}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise TraceError(f'{where}: expected an object such as {{"prompt": "text"}}')
    for key in content:
        if key not in _KEYS:
            raise TraceError(f"{where}: unknown key {key!r}{did_you_mean(key, _KEYS)}")
    text, tokens, document = (content.get(key) for key in _KEYS)
    if (text is None) == (tokens is None):
        raise TraceError(f"{where}: give either 'prompt' or 'tokens'")
    if text is not None and not isinstance(text, str):
        raise TraceError(f"{where}: prompt: {text!r} is not text")
    if tokens is not None and not _ids(tokens):
        raise TraceError(f"{where}: tokens: not a list of token ids")
    if document is not None and not isinstance(document, str):
        raise TraceError(f"{where}: document: {document!r} is not text")
    if not (text or tokens):
        raise TraceError(f"{where}: the prompt is empty")
    return Prompt(number, text, None if tokens is None else tuple(tokens), document)


def _ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(i) is int and i >= 0 for i in value)
