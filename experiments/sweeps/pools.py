"""Where the points of a sweep run: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import connection
from types import ModuleType
from typing import Any

from prefetch_sim.experiments.interrupts import nothing_to_keep
from prefetch_sim.experiments.output import say
from prefetch_sim.sim.config.errors import ConfigError

_ANSWER = 5  # seconds a scheduler has to answer


@dataclass(frozen=True)
class Pool:
    """An executor, and what a sweep has to know of it."""

    executor: Executor
    width: Callable[[], int]  # points to have in hand, at least 1; it may change
    broken: str  # what to tell if the executor breaks: reason, and how to go on
    fatal: tuple[type[Exception], ...] = ()  # of a point that its workers do not survive
    idle: Callable[[], bool] = lambda: False  # whether nobody is there who works on what it has


@contextmanager
def local(jobs: int) -> Iterator[Pool]:
    """``jobs`` processes, which end with this one."""
    # Spawned, not forked: this process has threads (progress bar, Arrow) that a fork would tear.
    context = multiprocessing.get_context("spawn")
    broken = (
        "a worker process was killed (out of memory?): finished points are kept, "
        "run again to go on, with fewer --jobs"
    )
    with _Processes(jobs, mp_context=context, initializer=_start_worker) as executor:
        yield Pool(executor, lambda: jobs, broken)


class _Processes(ProcessPoolExecutor):
    """Its processes do not run the caller's script again, as spawned ones do first of all."""

    def submit(self, work: Any, /, *arguments: Any, **keys: Any) -> Future[Any]:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # processes start here, when first needed
        try:
            return super().submit(work, *arguments, **keys)
        finally:
            sys.modules["__main__"] = main


def here() -> Pool:
    """This process: for a few points, and for policies that no other has."""
    return Pool(_Here(), lambda: 1, "")


class _Here(Executor):
    def submit(self, work: Any, /, *arguments: Any, **keys: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments, **keys))
        except Exception as error:
            done.set_exception(error)
        return done


def _start_worker() -> None:
    """End with the parent, however it ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


@contextmanager
def cluster(address: str) -> Iterator[Pool]:
    """The workers of the Dask scheduler at ``address``, one point at a time on each.

    Dask gives what a dead worker was running to another, or to the one started in its place.
    Raises ConfigError if Dask is not installed, or nobody answers.
    """
    if not address.strip():
        raise ConfigError("--scheduler: the address is empty; write HOST:PORT")
    if find_spec("distributed") is None:
        raise ConfigError("--scheduler needs Dask: pip install -e '.[cluster]' in the clone")
    with nothing_to_keep():
        from distributed import Client, KilledWorker

        # What goes wrong is told here, in one line.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)

        class Connected(Client):  # type: ignore[misc]
            def __del__(self) -> None:
                """Does nothing: a client that found no scheduler would wait to take its leave."""

        try:
            client = Connected(address, timeout=_ANSWER, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # silence, no address, no certificate
            raise ConfigError(f"--scheduler {address}: no scheduler there ({error})") from None
    waiting = False

    def width() -> int:
        nonlocal waiting
        workers = len(client.nthreads())
        if not workers and not waiting:
            say(f"{address} has no workers: waiting for the first")
        waiting = not workers
        return max(1, workers)

    with client:
        if any(threads > 1 for threads in client.nthreads().values()):
            say(
                "warning: a worker runs one point at a time, whatever its threads: "
                "start workers with --nthreads 1"
            )
        # Each call is its own, as what it reads may have changed since an earlier one.
        with client.get_executor(pure=False) as executor:
            broken = (
                f"the cluster at {address} is gone or was restarted: finished points are kept, "
                "run again to go on"
            )
            yield Pool(
                _AsBytes(executor), width, broken, (KilledWorker,), lambda: not client.nthreads()
            )


class _AsBytes(Executor):
    """Hands calls over as bytes, which are unpacked where they are made and no earlier.

    So the scheduler needs no code of ours, and a worker without it answers with the error: Dask
    would end that worker, and then wait for another.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, work: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        return self._executor.submit(pickle.loads, pickle.dumps(_Call(work, arguments)))


class _Call:
    """What is unpickled as the value of ``work(*arguments)``."""

    def __init__(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._call = work, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call
