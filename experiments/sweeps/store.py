"""Finished runs in SQLite: each is on disk, whole, before the next is counted."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from prefetch_sim.sim.config.errors import ConfigError

_TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    key TEXT PRIMARY KEY,     -- what the result depends on, see experiments.sweeps.identity
    config TEXT NOT NULL,     -- JSON
    result TEXT,              -- JSON, as `run --json` prints it; null where the run failed
    error TEXT,               -- the traceback of a run that failed
    seconds REAL NOT NULL,
    finished TEXT NOT NULL    -- UTC
)
"""


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
        except sqlite3.DatabaseError as error:
            self._lock.close()
            raise ConfigError(f"{path}: not a database of results ({error})") from error

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()
        self._lock.close()

    def put(self, key: str, config: str, outcome: Outcome) -> None:
        """Keep a finished run; one that failed earlier is replaced."""
        result = None if outcome.result is None else json.dumps(outcome.result, allow_nan=False)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        row = (key, config, result, outcome.error, outcome.seconds, now)
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", row)

    def finished(self) -> set[str]:
        """Keys of the runs that have a result."""
        rows = self._db.execute("SELECT key FROM runs WHERE result IS NOT NULL")
        return {key for (key,) in rows}

    def get(self, keys: Iterable[str]) -> dict[str, Outcome]:
        wanted = set(keys)
        rows = self._db.execute("SELECT key, result, error, seconds FROM runs")
        return {
            key: Outcome(None if result is None else json.loads(result), error, seconds)
            for key, result, error, seconds in rows
            if key in wanted
        }
