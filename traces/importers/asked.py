"""What whoever imports says of a recording, where its file leaves that open."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import Trace, TraceError

Passes = Literal["prompts", "chunks"]
PASSES: tuple[str, ...] = get_args(Passes)


@dataclass(frozen=True)
class Asked:
    """``words`` numbers token strings in order of first use, alike in all files of one import."""

    model: ModelSpec | None = None
    passes: str | None = None  # one of PASSES: what a pass of several tokens after another is
    words: dict[str, int] = field(default_factory=dict)

    def number(self, word: str) -> int:
        """The number of a token string."""
        return self.words.setdefault(word, len(self.words))

    def require_model(self, path: Path) -> ModelSpec:
        """The model, for files that do not say it."""
        if self.model is None:
            raise TraceError(f"{path}: does not say its model; name it with --model")
        return self.model


class Importer(Protocol):
    """A module that reads one format. ``FORMAT`` is its name for ``--format``.

    ``matches`` looks at the first bytes of a file (decompressed; none of a folder) and if need be
    at the file or folder itself. ``read`` gives a Trace, or raises TraceError. Weights may be of
    any float type and hold anything, and rows may have no expert in any layer: what is no weight
    or no token is left out for all formats at once (``tidy.py``).
    """

    FORMAT: str

    def matches(self, head: bytes, path: Path) -> bool: ...

    def read(self, path: Path, asked: Asked) -> Trace: ...
