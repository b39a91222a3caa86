"""Prompts of a capture: JSON lines, one request each.

A line has one of ``{"prompt": "text"}``, the same as ``{"text": "text"}``, ``{"messages": [{"role":
"user", "content": "text"}, ...]}``, put into words by the model's own chat template, and
``{"tokens": [ids]}``; and optionally ``"document": "name"``: requests from the same document are
kept on one side of every split. What else a data set has on its lines is left out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from prefetch_sim.traces.errors import did_you_mean, shown
from prefetch_sim.traces.trace import TraceError

_GIVEN = ("prompt", "text", "messages", "tokens")
_KEYS = (*_GIVEN, "document")
_MISSPELT = 0.85  # so like one of these that it was meant, though another is there
_LIKE = 0.6  # as errors.did_you_mean has it
_MOST_TOLD = 12  # keys of a line that an error lists
_WANTED = 'a line is one request, such as {"prompt": "words"}'
Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Prompt:
    """A text, messages or token ids; ``line`` in the file counts from 1."""

    line: int
    text: str | None
    tokens: tuple[int, ...] | None
    document: str | None
    messages: Messages | None = None

    @property
    def document_number(self) -> int:
        """A number for the document's name, or for the prompt itself where it has none: 63 bits."""
        prompt = (self.text, self.tokens) if self.messages is None else self.messages
        said = self.document if self.document is not None else repr(prompt)
        text = said.encode(errors="surrogatepass")  # JSON may hold half a character
        digest = hashlib.blake2b(text, digest_size=8, person=b"document").digest()
        return int.from_bytes(digest) >> 1


def read_prompts(path: Path) -> list[Prompt]:
    """Every prompt of the file. Raises TraceError naming the line at fault."""
    try:
        # Not splitlines: a JSON string may hold other characters that it takes for line ends.
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
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
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.colno}"
        raise TraceError(f"{where}: not JSON: {reason}; {_WANTED}") from None
    except (ValueError, RecursionError):  # brackets in brackets, a number of thousands of digits
        raise TraceError(f"{where}: not JSON that can be read; {_WANTED}") from None
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else shown(content)
        raise TraceError(f"{where}: expected an object, not {kind}; {_WANTED}")
    given = [key for key in _GIVEN if content.get(key) is not None]
    for key in content:
        like = _MISSPELT if given else _LIKE
        if key not in _KEYS and get_close_matches(key, _KEYS, n=1, cutoff=like):
            raise TraceError(f"{where}: unknown key {key!r}{did_you_mean(key, _KEYS)}")
    if not given:
        found = [key[:40] if content[key] is not None else f"{key[:40]}: null" for key in content]
        raise TraceError(
            f"{where}: no prompt here; one of {', '.join(_GIVEN)} "
            f"(found: {', '.join(found[:_MOST_TOLD]) or 'nothing'})"
        )
    if len(given) > 1:
        names = ", ".join(map(repr, _GIVEN[:-1]))
        raise TraceError(f"{where}: give either {names} or {_GIVEN[-1]!r}")
    (kind,) = given
    value, document = content[kind], content.get("document")
    if document is not None and not isinstance(document, str):
        raise TraceError(f"{where}: document: {document!r} is not text")
    wrong = _wrong(kind, value)
    if wrong:
        raise TraceError(f"{where}: {kind}: {wrong}")
    if not value:
        raise TraceError(f"{where}: the prompt is empty")
    return Prompt(
        number,
        value if kind in ("prompt", "text") else None,
        tuple(value) if kind == "tokens" else None,
        document,
        value if kind == "messages" else None,
    )


def _wrong(kind: str, value: Any) -> str:
    """Why ``value`` is no prompt of its kind; what messages say is the chat template's to judge."""
    if kind == "tokens":
        ids = isinstance(value, list) and all(type(i) is int and i >= 0 for i in value)
        return "" if ids else "not a list of token ids"
    if kind != "messages":
        return "" if isinstance(value, str) else f"{value!r} is not text"
    if not isinstance(value, list):
        return "not a list of messages"
    for number, message in enumerate(value):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return f"message {number} has no role that is text"
        if "content" not in message and "tool_calls" not in message:
            return f"message {number} has no content"
    return ""
