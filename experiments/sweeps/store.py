"""Finished runs in SQLite: each is on disk, whole, before the next is counted."""

from __future__ import annotations

import fcntl
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.traces.errors import first_line

_TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    key TEXT PRIMARY KEY,     -- what the result depends on, see experiments.sweeps.identity
    config TEXT NOT NULL,     -- JSON
    result TEXT,              -- JSON, as `run --json` prints it; null where the run failed
    error TEXT,               -- the traceback of a run that failed
    seconds REAL NOT NULL,
    finished TEXT NOT NULL,   -- UTC
    digest TEXT               -- of key, result, error and seconds: a damaged row is run again
)
"""

_COLUMNS = ["key", "config", "result", "error", "seconds", "finished", "digest"]


class Outcome(NamedTuple):
    """How a run ended: with a result, or with the text of an error."""

    result: dict[str, Any] | None
    error: str | None
    seconds: float


class Store:
    """The results of one folder, held by one process at a time. Raises ConfigError if it is not."""

    def __init__(self, folder: Path) -> None:
        self._lock = (folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ConfigError(f"{folder}: another sweep is writing here") from None
        path = folder / "results.sqlite"
        try:
            self._db = sqlite3.connect(path)
            self._db.execute("PRAGMA journal_mode=WAL")
            with self._db:
                self._db.execute(_TABLE)
                columns = [row[1] for row in self._db.execute("PRAGMA table_info(runs)")]
                if columns == _COLUMNS[:-1]:  # of an earlier version: other code's results
                    self._db.execute("ALTER TABLE runs ADD COLUMN digest TEXT")
                elif columns != _COLUMNS:
                    raise sqlite3.DatabaseError("its columns are others")
        except sqlite3.Error as error:
            self._lock.close()
            raise ConfigError(f"{path}: {_reason(error)}") from error
        self._path = path

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    def put(self, key: str, config: str, outcome: Outcome) -> None:
        """Keep a finished run; one that failed earlier is replaced."""
        result = None if outcome.result is None else json.dumps(outcome.result, allow_nan=False)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        kept = (key, result, outcome.error, float(outcome.seconds))
        row = (key, config, *kept[1:], now, _digest(*kept))
        with self._told(), self._db:
            self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def finished(self) -> set[str]:
        """Keys of the runs that have a result."""
        return {key for key, outcome in self._rows() if outcome.result is not None}

    def has_results(self) -> bool:
        """Whether any run has a result."""
        with self._told():
            found = self._db.execute("SELECT 1 FROM runs WHERE result IS NOT NULL LIMIT 1")
            return found.fetchone() is not None

    def get(self, keys: Iterable[str]) -> dict[str, Outcome]:
        """The outcomes of those of ``keys`` that have one."""
        wanted = set(keys)
        return {key: outcome for key, outcome in self._rows() if key in wanted}

    def _rows(self) -> Iterator[tuple[str, Outcome]]:
        """Every row that is as it was written."""
        with self._told():
            for key, result, error, seconds, digest in self._db.execute(
                "SELECT key, result, error, seconds, digest FROM runs"
            ):
                if digest == _digest(key, result, error, seconds):
                    read = None if result is None else json.loads(result)
                    yield key, Outcome(read, error, seconds)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ConfigError(f"{self._path}: {_reason(error)}") from error


def _digest(*row: object) -> str:
    return hashlib.sha256(repr(row).encode("utf-8", "surrogatepass")).hexdigest()


def _reason(error: Exception) -> str:
    """What became of the file, and what to do."""
    said = first_line(error)
    if "is full" in said:
        return f"cannot be written ({said}); what is whole is kept: make room and run again"
    if isinstance(error, sqlite3.OperationalError) and "malformed" not in said:
        return f"cannot be used ({said})"
    return f"not a database of results, or a damaged one ({said}); remove it to begin anew"
