"""What a user calls something in a figure, in place of the name that results have for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from prefetch_sim.sim.config.errors import ConfigError, did_you_mean


@dataclass
class _Given:
    """Labels by name; the names that were shown, and those of the labels that were taken.

    ``axes``: of which axes a name was a value, where its label was taken for one.
    """

    labels: Mapping[str, str]
    seen: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    axes: dict[str, set[str]] = field(default_factory=dict)

    def of(self, name: str) -> str:
        self.taken.add(name)
        label = self.labels[name]
        return f" {label}" if label.startswith("_") else label  # which a legend leaves out


_given: ContextVar[_Given | None] = ContextVar("labels", default=None)


@contextmanager
def labelled(labels: Mapping[str, str]) -> Iterator[None]:
    """While figures are drawn that take these ``labels`` by name.

    Raises ConfigError for two that are the same, and at the end for a name that was not shown, or
    that values of several axes have.
    """
    twice = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    if twice:
        raise ConfigError(f"--label: {twice[0]!r} is given twice, and could not be told apart")
    given = _Given(labels)
    token = _given.set(given)
    try:
        yield
    finally:
        _given.reset(token)
    for name in labels:
        if name not in given.taken:
            near = did_you_mean(name, given.seen)
            near = near if near.startswith("; did") else ""
            raise ConfigError(f"--label {name!r}: nothing in the figure is called so{near}")
        one, *others = sorted(given.axes.get(name, [""]))
        if others:
            raise ConfigError(
                f"--label {name!r}: a value of {one} and of {others[0]}; write '{one}:{name}'"
            )


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """OLD=NEW, each. Raises ConfigError for another text, and for an OLD that is there twice."""
    found: dict[str, str] = {}
    for text in texts:
        old, equals, new = (part.strip() for part in text.partition("="))
        if not (old and equals and new):
            raise ConfigError(f"--label {text!r}: write OLD=NEW")
        if old in found:
            raise ConfigError(f"--label {text!r}: {old!r} is given twice")
        found[old] = new
    return found


def label(text: str, *names: str, axis: str = "") -> str:
    """The label of what figures show as ``text`` and results have as ``names``; else ``text``.

    ``axis``: whose value it is, if it is one; a label may be given for that of this axis alone.
    """
    given = _given.get()
    if given is None:
        return text
    known = (text.strip(), *names)
    alone = [f"{axis}:{name}" for name in known] if axis else []
    given.seen |= {*known, *alone}
    for name in (*alone, *known):
        if name in given.labels:
            if axis and name in known:
                given.axes.setdefault(name, set()).add(axis)
            return given.of(name)
    return text


def label_words(text: str, shown: Mapping[str, str]) -> str:
    """``text`` with labels in place of whole words. ``shown``: words by the names of labels."""
    given = _given.get()
    words = {word: name for name, word in shown.items()}
    if given is None or not words:
        return text
    given.seen |= set(text.split())
    either = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.sub(rf"(?<!\S)(?:{either})(?!\S)", lambda match: given.of(words[match[0]]), text)


def names() -> list[str]:
    """What labels are given for."""
    given = _given.get()
    return [] if given is None else list(given.labels)
