"""What fails in a replay is one clear line; threads end, and nothing half-made is left."""

from __future__ import annotations

import errno
import mmap
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_replay import make  # noqa: F401

torch = pytest.importorskip("torch", reason="a replay needs torch")

from fake_cuda import FakeCuda  # noqa: E402

from prefetch_sim.sim.replay import cuda, engine, experts, host, machine  # noqa: E402
from prefetch_sim.sim.replay.device import ReplayError  # noqa: E402
from prefetch_sim.sim.replay.host import Worker  # noqa: E402
from prefetch_sim.sim.run import replay  # noqa: E402

SMALL_READS = {"storage.read_mib": 0.0390625}
# Off storage by threads, straight into the cache, or by way of host memory.
PATHS: dict[str, dict[str, Any]] = {
    "cpu": {"hardware": {"name": "jetson-orin-nano-8gb", **SMALL_READS}},
    "cuda": {
        "hardware": {"name": "rtx-3090", **SMALL_READS},
        "host": {"capacity": "60%"},
        "cache": {"capacity": "40%"},
    },
}
Read = Callable[..., int]


@pytest.fixture(params=sorted(PATHS))
def run(request: Any, make: Any, tmp_path: Path, monkeypatch: Any) -> Any:  # noqa: F811
    """A replay whose experts are in a file of ``tmp_path / "store"``."""
    monkeypatch.setattr(cuda, "TorchCuda", FakeCuda)
    (tmp_path / "store").mkdir()

    def run(**more: Any) -> Any:
        inputs = make(**PATHS[request.param])
        return replay(inputs, device=request.param, **{"storage": tmp_path / "store"} | more)

    return run


@contextmanager
def one_line(match: str, folder: Path) -> Iterator[None]:
    """An error of one line, after which there is no thread and no temporary file."""
    before = set(threading.enumerate())
    with pytest.raises(ReplayError, match=match) as found:
        yield
    assert "\n" not in str(found.value)
    assert set(threading.enumerate()) <= before
    assert not list(folder.rglob("*.tmp"))


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch, how: Callable[[Read, Any], int], good: int) -> Any:
    """After ``good`` whole reads each is ``how`` says."""
    read, count = os.preadv, iter(range(1 << 30))

    def preadv(fd: int, buffers: Any, offset: int) -> int:
        if len(buffers[0]) == experts.PAGE or next(count) < good:
            return read(fd, buffers, offset)
        return how(read, (fd, buffers, offset))

    with monkeypatch.context() as planted:
        planted.setattr(os, "preadv", preadv)
        yield


GOOD = 30  # reads: the cache has been filled by then


def test_a_read_that_fails(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with reads(monkeypatch, fails, GOOD), one_line(r"reading expert \d+ failed: Input/", tmp_path):
        run()


def test_a_short_read(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(read: Read, arguments: Any) -> int:
        return read(*arguments) // 2

    with reads(monkeypatch, short, GOOD), one_line(r"ends within expert \d+: \d+,", tmp_path):
        run()


def change(path: Path) -> None:
    """Other weights, the ending as it was."""
    with path.open("r+b") as file:
        whole = os.fstat(file.fileno()).st_size
        file.write(b"\x3c" * (whole - 24 * 4 * 70))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda path: os.truncate(path, 8192), r"experts-\w+.bin: ends within expert \d+: 0 of"),
        (change, r"experts-\w+.bin: expert \d+ came as something else than was written"),
    ],
    ids=["cut", "changed"],
)
def test_a_file_cut_or_changed_under_it(
    run: Any, tmp_path: Path, what: Callable[[Path], None], said: str
) -> None:
    def spoil(*_: Any) -> None:
        (path,) = (tmp_path / "store").glob("*.bin")
        what(path)

    with one_line(said, tmp_path):
        run(watch=spoil)
    if said.startswith(r"experts-\w+.bin: ends"):
        run()  # what is no longer whole is made again


def test_a_file_system_without_direct_reads(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known before the file is filled."""
    opened = os.open

    def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("filled in vain"))
    with one_line(r"store: its file system has no reads past the page cache", tmp_path):
        run()


def test_a_full_disk(run: Any, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs a small file system, which root alone can mount")
    try:
        with one_line(r"small: cannot keep 0.0 GiB of experts: No space left", small):
            run(storage=small)
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_disk_that_fills_up_meanwhile(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with one_line(r"store: cannot keep 0.0 GiB of experts: No space left on device", tmp_path):
        run()
    assert not list((tmp_path / "store").iterdir())


def test_no_host_memory(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(experts, "available", lambda: 100_000)
        with one_line(r"^host memory: no room for 0.0 GiB \(0.0 GiB are free\)", tmp_path):
            run()

    class Full(mmap.mmap):
        def __new__(cls, fileno: int, length: int, **how: Any) -> Full:
            if length > experts.PAGE:
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
            return super().__new__(cls, fileno, length, **how)

    monkeypatch.setattr(mmap, "mmap", Full)
    with one_line(r"^host memory: no room for 0.0 GiB \(.*Cannot allocate memory", tmp_path):
        run()


def test_experts_lie_on_large_pages() -> None:
    """What fills or reads scattered pages takes up to twice as long, otherwise in each run."""
    allowed = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not allowed.exists() or "[never]" in allowed.read_text():
        pytest.skip("this system has no large pages to give")
    memory = experts.aligned(64 << 20)
    mapped = Path("/proc/self/smaps").read_text()
    begins, nbytes = memory.data_ptr(), memory.nbytes
    found = re.findall(
        r"^([0-9a-f]+)-([0-9a-f]+) .*\n(?:\w+:.*\n)*?THPeligible: +(\d)", mapped, re.M
    )
    over = [
        int(yes) for low, high, yes in found if int(low, 16) < begins + nbytes // 2 < int(high, 16)
    ]
    assert over == [1]


def test_what_is_available_is_said() -> None:
    assert 1 << 20 < machine.available() < 1 << 60


def test_torch_without_memory(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes\nAt: x")

    monkeypatch.setattr(torch, "randn", full)
    with one_line(r"^host memory: .*can't allocate memory: you tried 9 bytes", tmp_path):
        run()


def test_a_thread_whose_read_goes_wild(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wild(*_: Any) -> int:
        raise SystemExit

    with reads(monkeypatch, wild, GOOD), one_line(r"^storage, expert \d+: SystemExit", tmp_path):
        run()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more comes of it: whoever waits finds out."""

    def dies(self: Worker) -> None:
        if not self._thread.name.startswith("storage"):
            goes_on(self)

    goes_on = Worker._run
    monkeypatch.setattr(Worker, "_run", dies)
    for module in (host, cuda):
        monkeypatch.setattr(module, "LONG", 0.01)
    with one_line(r"^storage \d: its thread has died$", tmp_path):
        run()


def test_no_more_threads(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, count = threading.Thread.start, iter(range(100))

    def some(self: threading.Thread) -> None:
        if next(count) >= 3:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", some)
    with one_line(r"^\w+ \d: no thread for it: can't start new thread$", tmp_path):
        run()


@pytest.mark.parametrize("when", ["writing", "running"])
def test_an_interrupt(run: Any, tmp_path: Path, when: str) -> None:
    before = set(threading.enumerate())

    def writing(_: str, done: int, of: int) -> None:
        if when == "writing" and 2 * done > of:
            raise KeyboardInterrupt

    def watch(device: Any, _: Any) -> None:
        def on_compute(start: int, duration: int, what: str) -> None:
            if when == "running" and what == "head":
                raise KeyboardInterrupt

        device.on_compute = on_compute

    with pytest.raises(KeyboardInterrupt):
        run(watch=watch, progress=writing)
    assert set(threading.enumerate()) <= before
    assert not list(tmp_path.rglob("*.tmp"))
    assert bool(list(tmp_path.rglob("*.bin"))) == (when == "running")
    run()  # and again from the beginning


def test_ctrl_c_ends_the_command_and_its_threads(make: Any, tmp_path: Path) -> None:  # noqa: F811
    """A real signal, while the deciding thread waits for a read that does not end."""
    make()  # writes the model
    model = str(tmp_path / "model.yaml")
    config = tmp_path / "config.yaml"
    trace = {"synthetic": model, "requests": 2, "prompt": 3, "decode": 6}
    more = {"precision": "f32", "cache": {"capacity": "50%"}, **PATHS["cpu"]}
    config.write_text(yaml.safe_dump({"trace": trace, "model": model, **more}))
    program = f"""
import os, threading, time
from prefetch_sim.experiments.cli import main
from prefetch_sim.sim.replay import host
from prefetch_sim.sim.replay.experts import ExpertsInFile
host._PATIENCE = 0.2
read, deciding = ExpertsInFile.read, threading.main_thread()
def slow(self, *what):
    if threading.current_thread() is not deciding:
        os.write(1, b"reading\\n")
        time.sleep(3600)
    read(self, *what)
ExpertsInFile.read = slow
main(["replay", {str(config)!r}, "--device", "cpu", "--storage", {str(tmp_path)!r}])
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        more_lines, said = process.communicate(timeout=120)
    assert line == b"reading\n", said
    assert process.returncode == 130, said
    assert set(more_lines.splitlines()) <= {b"reading"}  # no half report
    (left,) = tmp_path.glob("experts-*.bin")
    assert (
        said.decode()
        .strip()
        .startswith(f"stopped: a replay is kept whole or not at all; left: {left}, ")
    )
    assert not list(tmp_path.glob("*.tmp"))


def test_a_file_is_read_by_its_own_experts_alone(run: Any, tmp_path: Path) -> None:
    """One of another ending is no file of theirs, and is made again."""
    engine._kept.clear()
    run()
    (path,) = (tmp_path / "store").glob("*.bin")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    run()
    assert path.read_bytes() == good
