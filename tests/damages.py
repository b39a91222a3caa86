"""Damages on purpose: files that are changed between two runs, disks that fill up during one.

``python tests/damages.py [SEED] [KIND=COUNT ...]`` prints what became of each kind. Every damaged
thing is used, then used again. The verdict: the first is right (the same result as without damage)
or refused in one line that names the file; the next, after what that line says to do, is right.
``disks`` are small ones of their own, mounted in a namespace (``unshare -rm``); without that they
are left out.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cli_support import small_trace, write_config

from prefetch_sim.experiments.cli import main
from prefetch_sim.sim.jit import jit
from prefetch_sim.sim.workload import mapped_arrays

COUNTS = {"kernels": 100, "arrays": 50, "store": 50, "disks": 13}
LONGEST = 400  # characters of an error's line
assert jit.kernel  # imported before any fork, so that none has to


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Started:
    """A command in a process of its own, forked from this one, which has imported everything."""

    def __init__(self, folder: Path, *arguments: str, cache: Path | None = None) -> None:
        self._files = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.chdir(folder)
                for number, file in enumerate(self._files, start=1):
                    os.dup2(file.fileno(), number)
                if cache is not None:
                    os.environ["XDG_CACHE_HOME"] = str(cache)
                main(arguments)
            except SystemExit as ended:
                code = int(ended.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)

    def end(self) -> Ended:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        texts = []
        for file in self._files:
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
            file.close()
        return Ended(code, *texts)


def ran(folder: Path, *arguments: str, cache: Path | None = None) -> Ended:
    return Started(folder, *arguments, cache=cache).end()


class Seen:
    """What came of the damages of one kind."""

    def __init__(self) -> None:
        self.damages = self.right = self.refused = self.right_again = 0
        self.wrong: list[str] = []

    def first(self, ended: Ended, right: bool, *names: str) -> bool:
        """Count how a run on something damaged ended; whether it was refused."""
        self.damages += 1
        lines = [line for line in ended.err.splitlines() if not line.startswith("points: ")]
        if ended.code == 0 and right:
            self.right += 1
        elif (
            ended.code == 2
            and len(lines) == 1
            and len(lines[0]) <= LONGEST
            and all(name in lines[0] for name in names)
        ):
            self.refused += 1
            return True
        else:
            self.wrong.append(f"{ended.code}: {ended.out[-100:]!r} {ended.err[-300:]!r}")
        return False

    def again(self, ended: Ended, right: bool) -> None:
        if ended.code == 0 and right:
            self.right_again += 1
        else:
            self.wrong.append(f"next: {ended.code}: {ended.out[-100:]!r} {ended.err[-300:]!r}")


def damage(path: Path, draw: random.Random) -> None:
    """What killed processes, full disks and bad ones leave."""
    content = bytearray(path.read_bytes())
    at = draw.randrange(len(content))
    match draw.randrange(8):
        case 0:
            content.clear()
        case 1:
            del content[at:]
        case 2:
            content[at] ^= 1 << draw.randrange(8)
        case 3:
            content[at : at + 4096] = bytes(len(content[at : at + 4096]))
        case 4:
            content[at : at + 64] = draw.randbytes(len(content[at : at + 64]))
        case 5:
            content += draw.randbytes(draw.randrange(1, 5000))
        case 6:
            content = bytearray(draw.randbytes(len(content)))
        case _:
            path.unlink()
            return
    path.write_bytes(content)


RUN = ("run", "run.yaml", "--json")


def kernels(folder: Path, count: int, draw: random.Random) -> Seen:
    """Compiled loops of a predictor, in the user's cache folder."""
    return _cached(folder, count, draw, "*/*.kernel")


def arrays(folder: Path, count: int, draw: random.Random) -> Seen:
    """Arrays of a trace that processes share."""
    mapped_arrays.LEAST = 0  # those of this small trace too
    return _cached(folder, count, draw, "arrays/*.array")


def _cached(folder: Path, count: int, draw: random.Random, pattern: str) -> Seen:
    seen, cache = Seen(), folder / "cache"
    right = ran(folder, *RUN, cache=cache).out
    for _ in range(count):
        files = sorted(cache.glob(f"prefetch-sim/{pattern}"))
        if not files:
            raise SystemExit(f"no {pattern} in the cache to be damaged")
        damage(draw.choice(files), draw)
        first = ran(folder, *RUN, cache=cache)
        seen.first(first, first.out == right, "cache")
        second = ran(folder, *RUN, cache=cache)
        seen.again(second, second.out == right)
    return seen


IMPORT = ("trace", "import", "a.csv", "--model", "tiny.yaml", "-o")
SWEEP = ("sweep", "sweep.yaml", "--jobs", "1", "--out")


def store(folder: Path, count: int, draw: random.Random) -> Seen:
    """Results of a sweep that ended, and of one that was killed."""
    seen, out, cache = Seen(), folder / "out", folder / "cache"
    ran(folder, *SWEEP, "out", cache=cache)
    right = (out / "results.csv").read_bytes()
    shutil.copytree(out, folder / "ended")
    shutil.rmtree(out)
    killed = Started(folder, *SWEEP, "out", cache=cache)
    began, log = time.monotonic(), out / "results.sqlite-wal"
    while time.monotonic() < began + 60 and not (log.exists() and log.stat().st_size > 20_000):
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.end()
    shutil.copytree(out, folder / "killed")
    for number in range(count):
        shutil.rmtree(out)
        shutil.copytree(folder / ("killed" if number % 3 == 0 else "ended"), out)
        files = [path for path in sorted(out.glob("results.sqlite*")) if path.stat().st_size]
        damage(draw.choice(files), draw)
        first = ran(folder, *SWEEP, "out", cache=cache)
        whole = out / "results.csv"
        same = whole.exists() and whole.read_bytes() == right
        if seen.first(first, same, "out/results.sqlite") and "remove it" in first.err:
            for path in out.glob("results.sqlite*"):
                path.unlink()
        second = ran(folder, *SWEEP, "out", cache=cache)
        seen.again(second, whole.exists() and whole.read_bytes() == right)
    return seen


@contextmanager
def disk(folder: Path, kib: int) -> Iterator[Path]:
    """A disk of so many KiB."""
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, left: int) -> None:
    """Take what room there is but ``left`` bytes."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    try:
        with (folder / "ballast").open("wb", buffering=0) as file:
            for _ in range(max(0, free - left) // 4096):
                file.write(bytes(4096))
    except OSError:
        pass  # the other was faster


def whole(folder: Path, made: str) -> bytes:
    """What a command wrote; nothing where it writes no file, or did not."""
    return (folder / made).read_bytes() if made and (folder / made).exists() else b""


def disks(folder: Path, count: int, draw: random.Random) -> Seen:
    """A disk of 4 MiB, for a sweep, a timeline, a trace, a cache, that fills up at some moment."""
    seen, small = Seen(), folder / "small"
    commands: list[tuple[tuple[str, ...], str]] = [
        ((*RUN, "--timeline", "small/t.json"), "t.json"),
        ((*SWEEP, "small/out"), "out/results.csv"),
        ((*IMPORT, "small/t.parquet"), "t.parquet"),
        (RUN, ""),  # its cache is there
    ]
    for number in range(count):
        arguments, made = commands[number % len(commands)]
        cache = folder / "cache" if made else small / "cache"
        with disk(small, 4096):
            began = time.monotonic()
            right = ran(folder, *arguments, cache=cache)
            seconds = time.monotonic() - began
            content = whole(small, made)
        assert right.code == 0, right
        with disk(small, 4096):
            started = Started(folder, *arguments, cache=cache)
            time.sleep(draw.uniform(0, seconds))
            fill(small, draw.choice([0, 4096, 16_384, 65_536]))
            first = started.end()
            there = whole(small, made)
            same = there == content and (made != "" or first.out == right.out)
            seen.first(first, same, "small/")
            if there not in (b"", content):
                seen.wrong.append(f"{made} is half-written: {len(there)} of {len(content)} bytes")
            left = [path.name for path in small.rglob("*.tmp") if made]
            seen.wrong += [f"left behind: {left}"] if left else []
            (small / "ballast").unlink(missing_ok=True)
            if made.startswith("t."):
                (small / made).unlink(missing_ok=True)  # nothing is imported over what is there
            second = ran(folder, *arguments, cache=cache)
            there = whole(small, made)
            seen.again(second, there == content and (made != "" or second.out == right.out))
    return seen


KINDS: dict[str, Callable[[Path, int, random.Random], Seen]] = {
    "kernels": kernels, "arrays": arrays, "store": store, "disks": disks
}  # fmt: skip


def prepared(folder: Path) -> None:
    small_trace(folder / "small.parquet")
    loops = {"trace": "small.parquet", "predictor": "transition", "engine": "simpy"}
    write_config(folder / "run.yaml", **loops)
    write_config(
        folder / "sweep.yaml", trace="small.parquet", engine="simpy", sweep={"seed": [1, 2, 3]}
    )
    rows = [f"a,{at},{layer},{at % 7} 7" for at in range(400) for layer in (1, 2)]
    (folder / "a.csv").write_text("\n".join(["request,position,layer,experts", *rows]))
    shutil.copy(Path(__file__).parent / "corpus" / "tiny.model.yaml", folder / "tiny.yaml")


def report(counts: dict[str, int], seed: int) -> bool:
    """Print a line a kind, and all that went wrong; whether anything did."""
    print("kind       damages   right  refused  wrong  right the next time", flush=True)
    wrong = False
    for kind, count in counts.items():
        if kind == "disks" and os.environ.get("DAMAGES_INSIDE") is None:
            print(f"{kind:<9}  left out: no unshare -rm here", flush=True)
            continue
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            prepared(folder)
            seen = KINDS[kind](folder, count, random.Random(f"{kind} {seed}"))
        print(
            f"{kind:<9}{seen.damages:>9}{seen.right:>8}{seen.refused:>9}{len(seen.wrong):>7}"
            f"{seen.right_again:>21}",
            *seen.wrong, sep="\n  ", flush=True,
        )  # fmt: skip
        wrong = wrong or bool(seen.wrong)
    return wrong


def in_namespace() -> None:
    """Become a process that may mount disks, which no other sees, where that is allowed."""
    try:
        allowed = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    except OSError:
        return
    if allowed.returncode == 0:
        environment = os.environ | {"DAMAGES_INSIDE": "1"}
        os.execvpe("unshare", ["unshare", "-rm", sys.executable, *sys.argv], environment)


if __name__ == "__main__":
    words = sys.argv[1:]
    given = dict(word.split("=") for word in words if "=" in word)
    wanted = {kind: int(count) for kind, count in given.items()} or COUNTS
    if "disks" in wanted and "DAMAGES_INSIDE" not in os.environ:
        in_namespace()
    sys.exit(report(wanted, next((int(word) for word in words if "=" not in word), 0)))
