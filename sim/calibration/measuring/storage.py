"""Reads of a scratch file, past the page cache, by the threads that read for a replay."""

from __future__ import annotations

import errno
import itertools
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from prefetch_sim.sim.calibration.measuring.bench import Bench
from prefetch_sim.sim.calibration.samples import Samples
from prefetch_sim.sim.calibration.storage import MIB, StorageTimes
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.replay.device import Engine, Mark, Work
from prefetch_sim.sim.replay.experts import EXPERTS, aligned

_SPARE = 2  # times the file's size that a file system must have free


class Scratch:
    """A file without a name, of random bytes: nothing is left of it, however this ends."""

    def __init__(self, descriptor: int, nbytes: int) -> None:
        self._descriptor, self._nbytes = descriptor, nbytes
        self._draw = np.random.default_rng(0)

    def reading(self, nbytes: int) -> Work:
        """Reads ``nbytes`` of some place of the file into a buffer of its own."""
        target = aligned(nbytes).numpy()
        places = self._draw.permutation(self._nbytes // nbytes) * nbytes
        turn = itertools.cycle(places.tolist())

        def read() -> None:
            got = os.preadv(self._descriptor, [target], next(turn))
            if got != nbytes:
                raise OSError(errno.EIO, f"{got:,} of {nbytes:,} bytes were read")

        return read


@contextmanager
def scratch(folder: Path, nbytes: int) -> Iterator[Scratch]:
    """A file of ``nbytes`` in ``folder``, past the page cache. Raises ConfigError.

    Where a replay has left a larger one of experts, that is read: what lies on a drive far apart
    may come slower than what has just been written.
    """
    if not folder.is_dir():
        raise ConfigError(f"--storage: {folder}: no such folder")
    direct = getattr(os, "O_DIRECT", 0)
    if not direct or not hasattr(os, "preadv"):
        raise ConfigError("--storage: this system has no reads past the page cache (O_DIRECT)")
    path = folder / f".prefetch-sim-calibration-{os.getpid()}"
    kept = max(folder.glob(EXPERTS), key=lambda file: file.stat().st_size, default=None)
    if kept is not None and kept.stat().st_size >= nbytes:
        descriptor = os.open(kept, os.O_RDONLY | direct)
        try:
            yield Scratch(descriptor, kept.stat().st_size)
        finally:
            os.close(descriptor)
        return
    try:
        space = os.statvfs(folder)
        free = space.f_bavail * space.f_frsize
        if free < _SPARE * nbytes:
            raise ConfigError(
                f"--storage: {folder}: {free / MIB:,.0f} MiB are free, "
                f"{_SPARE * nbytes / MIB:,.0f} MiB are needed"
            )
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | direct, 0o600)
    except OSError as error:
        raise ConfigError(f"--storage: {folder}: {_why(error)}") from error
    try:
        path.unlink()
        _fill(descriptor, nbytes)
        yield Scratch(descriptor, nbytes)
    except OSError as error:
        raise ConfigError(f"--storage: {folder}: {_why(error)}") from error
    finally:
        os.close(descriptor)


def _why(error: OSError) -> str:
    if error.errno == errno.EINVAL:
        return "its file system has no reads past the page cache (O_DIRECT)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "cannot be written to"
    return error.strerror or str(error)


def _fill(descriptor: int, nbytes: int) -> None:
    """Random bytes: drives and file systems may store others in less."""
    block = min(nbytes, 32 * MIB)
    buffer = mmap.mmap(-1, block)
    words = np.frombuffer(buffer, np.uint64)
    words[:] = np.random.default_rng(0).integers(2**63, size=len(words), dtype=np.uint64)
    for at in range(0, nbytes, block):
        words += np.uint64(at + 1)
        os.pwrite(descriptor, buffer, at)
    os.fsync(descriptor)


def measure(
    bench: Bench,
    file: Scratch,
    blocks: Sequence[int],
    depths: Sequence[int],
    *,
    repeats: int,
    window: float,
) -> StorageTimes:
    """``repeats`` reads of each of ``blocks`` alone; then ``depths`` at once, ``window`` s each.

    The lanes that read are the replay's: whoever decides gives a lane its next read.
    """
    times = StorageTimes()
    lanes = bench.lanes("storage", max(depths))
    for block in blocks:
        reads = [file.reading(block) for _ in lanes]
        one, first = lanes[0], reads[0]
        bench.run(one, [first])
        times.single[block] = Samples.of([bench.isolated_us(one, first) for _ in range(repeats)])
        for depth in depths:
            times.rate[block, depth] = _rate(bench, block, lanes[:depth], reads, window)
    return times


def _rate(
    bench: Bench, block: int, lanes: Sequence[Engine], reads: Sequence[Work], window: float
) -> Samples:
    """GB/s in each tenth of ``window``."""
    device, ends, under_way = bench.device, [], [0]

    def again(i: int) -> None:
        def through(now: int) -> None:
            ends.append(now)
            under_way[0] -= 1
            if now < until:
                again(i)

        under_way[0] += 1
        lanes[i].put(reads[i], Mark("reading", through))

    begun = device.now
    until = begun + window * 1e9
    for i in range(len(lanes)):
        again(i)
    while under_way[0]:
        device.next()
    # As many pieces of the reads that are through as make percentiles; at least two reads each.
    pieces = max(1, min(10, len(ends) // (2 * len(lanes))))
    bounds = [begun, *(part[-1] for part in np.array_split(np.array(ends), pieces))]
    counts = [len(part) for part in np.array_split(np.array(ends), pieces)]
    spans = np.diff(np.array(bounds, float))
    return Samples.of([count * block / ns for count, ns in zip(counts, spans) if ns > 0])
