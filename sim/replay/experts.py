"""Where experts come from: a file that is read past the page cache, or host memory."""

from __future__ import annotations

import errno
import json
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from prefetch_sim.sim.replay.device import ReplayError
from prefetch_sim.sim.replay.machine import available
from prefetch_sim.sim.replay.weights import PAGE, Layout

Progress = Callable[[str, int, int], None]  # what, how much is done, of how much

_LARGE = 2 << 20  # bytes of a large page


def aligned(nbytes: int) -> torch.Tensor:
    """Memory that reads past the page cache may fill, uint8 [nbytes]. Raises ReplayError.

    On large pages where the system has them: small ones lie scattered, otherwise in each run, and a
    drive that fills them takes up to twice as long.
    """
    free = available()
    if nbytes > free:  # asking is granted, and using it would end the process
        raise ReplayError(
            f"host memory: no room for {nbytes / 2**30:.1f} GiB ({free / 2**30:.1f} GiB are free)"
        )
    try:
        # Shared memory, mmap's default, gets no large pages, nor does what ends within one.
        whole = nbytes if nbytes < _LARGE else -(-nbytes // _LARGE) * _LARGE
        memory = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
        found = np.frombuffer(memory, dtype=np.uint8, count=nbytes)
        found[::PAGE] = 0  # so that no load is the first to touch a page
        return torch.from_numpy(found)
    except (OSError, MemoryError, ValueError) as error:
        raise ReplayError(f"host memory: no room for {nbytes / 2**30:.1f} GiB ({error})") from error


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.3g} MiB"


class Experts(Protocol):
    """Where all experts are, with what each is known by: ``digests``, int32 [experts, samples]."""

    digests: npt.NDArray[np.int32]
    where: str  # in messages

    def read(self, x: int, offset: int, nbytes: int, slot: torch.Tensor) -> None:
        """Read ``nbytes`` of expert ``x`` from ``offset`` on to the same place of ``slot``."""

    def of(self, x: int) -> torch.Tensor:
        """Expert ``x`` where it lies in host memory, uint8 [stride]."""

    def about(self) -> dict[str, str]:
        """Where they are, for a report."""


class ExpertsInMemory:
    """All experts in blocks of host memory: where there are fewer, several share a block."""

    where = "host memory"

    def __init__(
        self, layout: Layout, memory: torch.Tensor, progress: Progress | None = None
    ) -> None:
        """``memory``: uint8 [blocks, stride], to be filled; expert x is in x mod blocks."""
        self._memory = memory
        digests = []
        for block, slot in enumerate(memory):
            layout.make(block, slot)
            digests.append(layout.samples(slot).numpy().copy())
            if progress is not None:
                progress("making experts in memory", block + 1, len(memory))
        self.digests = np.stack(digests)[np.arange(layout.experts) % len(memory)]

    def read(self, x: int, offset: int, nbytes: int, slot: torch.Tensor) -> None:
        slot[offset : offset + nbytes].copy_(self.of(x)[offset : offset + nbytes])

    def of(self, x: int) -> torch.Tensor:
        return self._memory[x % len(self._memory)]

    def about(self) -> dict[str, str]:
        experts, (blocks, stride) = len(self.digests), self._memory.shape
        said = f"{experts:,} experts in {_size(blocks * stride)} of host memory"
        if blocks == experts:
            return {"experts": said}
        return {"experts": f"{said}: expert x in block x mod {blocks:,}"}


EXPERTS = "experts-*.bin"  # what a folder's files of experts are called


class ExpertsInFile:
    """All experts in a file of ``folder``, a file that is made where it is not there yet.

    The file ends with what experts are known by, and with what it is a file of.
    """

    def __init__(self, layout: Layout, folder: Path, progress: Progress | None = None) -> None:
        """Raises ReplayError."""
        self.layout = layout
        name = {**vars(layout), "page": PAGE, "made": 2}
        key = sha256(json.dumps(name, sort_keys=True).encode()).hexdigest()
        self.path = folder / EXPERTS.replace("*", key[:12])
        self._tail = bytes.fromhex(key)
        if not self._whole():
            self._write(progress)
        self._fd = self._open(self.path)
        with self.path.open("rb") as file:
            file.seek(layout.experts * layout.stride)
            known = np.frombuffer(file.read(self._digest_bytes), dtype=np.int32)
        self.digests = known.reshape(layout.experts, -1)
        self.where = str(self.path)

    @property
    def _digest_bytes(self) -> int:
        slot = torch.zeros(self.layout.stride, dtype=torch.uint8)
        return self.layout.experts * len(self.layout.samples(slot)) * 4

    def _open(self, path: Path) -> int:
        """Open ``path``, a page long at least, for reads past the page cache."""
        direct = getattr(os, "O_DIRECT", None)
        if direct is None:
            raise ReplayError("storage: this system has no reads past the page cache (O_DIRECT)")
        try:
            found = os.open(path, os.O_RDONLY | direct)
            os.preadv(found, [aligned(PAGE).numpy()], 0)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise ReplayError(
                    f"{path.parent}: its file system has no reads past the page cache (O_DIRECT): "
                    "choose another folder with --storage"
                ) from error
            raise ReplayError(f"{path}: {error.strerror}") from error
        return found

    def _whole(self) -> bool:
        expected = self.layout.experts * self.layout.stride + self._digest_bytes + len(self._tail)
        try:
            with self.path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                if file.tell() != expected:
                    return False
                file.seek(-len(self._tail), os.SEEK_END)
                return file.read() == self._tail
        except OSError:
            return False

    def _write(self, progress: Progress | None) -> None:
        layout = self.layout
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        slot = torch.zeros(layout.stride, dtype=torch.uint8)
        digests = []
        try:
            with temporary.open("wb") as file:
                file.truncate(PAGE)
                os.close(self._open(temporary))  # before gigabytes are written in vain
                os.posix_fallocate(file.fileno(), 0, layout.experts * layout.stride)
                for x in range(layout.experts):
                    layout.make(x, slot)
                    file.write(slot.numpy().data)
                    digests.append(layout.samples(slot).numpy().copy())
                    if progress is not None:
                        progress("writing experts", x + 1, layout.experts)
                file.write(np.stack(digests).tobytes())
                file.write(self._tail)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            raise ReplayError(
                f"{self.path.parent}: cannot keep {layout.experts * layout.stride / 2**30:.1f} GiB "
                f"of experts: {error.strerror}"
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink()

    def read(self, x: int, offset: int, nbytes: int, slot: torch.Tensor) -> None:
        """Read ``nbytes`` of expert ``x`` from ``offset`` on into its slot. Raises ReplayError."""
        end = min(-(-(offset + nbytes) // PAGE) * PAGE, self.layout.stride)
        target = slot[offset:end].numpy()
        at = x * self.layout.stride + offset
        try:
            got = os.preadv(self._fd, [target], at)
        except OSError as error:
            raise ReplayError(
                f"{self.path}: reading expert {x} failed: {error.strerror}"
            ) from error
        if got != len(target):
            raise ReplayError(
                f"{self.path}: ends within expert {x}: {got:,} of {len(target):,} bytes were read; "
                "has the file been cut?"
            )

    def of(self, x: int) -> torch.Tensor:
        raise ReplayError(f"{self.path}: expert {x} is not in host memory")

    def about(self) -> dict[str, str]:
        size = _size(self.layout.experts * self.layout.stride)
        return {"experts": f"{self.layout.experts:,} experts in a file of {size}"}

    def close(self) -> None:
        os.close(self._fd)
