"""Bad inputs, thousands of them: each is a valid run or one line, in bounded memory and time.

``python tests/fuzz.py COUNT [TARGET[=COUNT] ...]`` mutates the files of tests/corpus, COUNT times
each target, and prints what it saw. A target is a reader, by the command that a user would give;
tests/make_corpus.py writes most of those files. The verdict on each input: exit code 0 with
something said, or exit code 2 with one line on stderr of under 400 characters; no exception, no
file half-written.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from cli_support import small_trace

from prefetch_sim.experiments.cli import main

CORPUS = Path(__file__).parent / "corpus"
LONGEST_S, MOST_BYTES = 60, 6 << 30  # of work on one input; of the address space, mostly code
Arguments = Callable[[Path], list[str]]  # by the mutated file


def _named(path: Path) -> str:
    """What a user names: the file, or the folder that it lies in."""
    return path.name if path.parent.samefile(".") else path.parent.name


def _run(*assignments: str) -> Arguments:
    settings = [part for one in assignments for part in ("--set", one)]
    return lambda path: ["run", "run.yaml", "--json", *(s.format(_named(path)) for s in settings)]


def _import(path: Path) -> list[str]:
    says_its_model = _named(path).startswith("gpt-oss")
    said = [] if says_its_model else ["--model", str(CORPUS / "tiny.model.yaml")]
    return ["trace", "import", _named(path), "-o", "out.parquet", *said]


_MADE_UP = "trace={{synthetic: {0}, requests: 1, prompt: 0, decode: 2}}"
_LARGE = "hardware=b200"  # for models as they are published
# By folder of the corpus.
TARGETS: dict[str, Arguments] = {
    "config": lambda path: ["run", path.name, "--json"],
    "model": _run(_MADE_UP, _LARGE, "cache.capacity=25%"),
    "gguf": _run(_MADE_UP),
    "hardware": _run("hardware={0}"),
    "runtime": _run("runtime={0}"),
    "trace": _run("trace={0}"),
    "importers": _import,
    "results": lambda path: ["plot", ".", "--out", "figures"],
    "predictor": lambda path: [
        "trace", "predict", "small.parquet", "-o", "out.parquet", "--predictor", _named(path),
    ],
}  # fmt: skip

WORDS = [
    *b"-1 0 1 2 255 256 32767 32768 65536 1e308 1e-308 1e16 -0 nan .nan inf .inf null".split(),
    *b"9223372036854775807 9223372036854775808 18446744073709551616 0x10 1_000 1:2 ~ ''".split(),
    *b"[] {} [[[[ ]]]] }} &a *a !!str !!bool << : \t \r\n \0 \x1b[31m $\\frac [/b]".split(b" "),
    b"9" * 50, b"9" * 5000, b"[" * 400, b"{a: " * 100, b"x" * 3000, b"\xff\xfe", b"\xef\xbb\xbf",
    b"\xc3", "日本語".encode(), "é".encode("latin-1"), "\u202e".encode(), b"\n", b" ",
]  # fmt: skip

VALUES: list[Any] = [
    None, -1, 2**31, 2**63 - 1, 1.5, float("nan"), True, "x", "é" * 500, b"\xff", [], [1], [[1, 2]],
    [[None]], {"a": 1}, {},
]  # fmt: skip


def mutated(content: bytes, draw: random.Random) -> bytes:
    """``content`` with up to a few changes, of its bytes or of its words."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        at, to = sorted(draw.randrange(len(data) + 1) for _ in range(2))
        near = min(to, at + draw.choice([1, 2, 8, 64]))
        match draw.randrange(9):
            case 0:
                data[at : at + 1] = bytes([draw.randrange(256)])
            case 1 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case 2:
                del data[at:near]
            case 3:
                del data[at : draw.choice([to, len(data)])]
            case 4:
                data[at:at] = data[at:to][:4096]
            case 5:
                data[at:near] = draw.choice(WORDS)
            case 6:
                data[at:at] = draw.choice(WORDS)
            case _:
                _replace_word(data, draw)
    return bytes(data)


def _replace_word(data: bytearray, draw: random.Random) -> None:
    """A number or a name becomes another."""
    words = list(_words(data))
    if words:
        start, end = draw.choice(words)
        other = draw.choice(words)
        data[start:end] = draw.choice([draw.choice(WORDS), bytes(data[other[0] : other[1]])])


def _words(data: bytearray) -> Iterator[tuple[int, int]]:
    start = None
    for i, byte in enumerate(data[:65_536]):
        inside = chr(byte).isalnum() or byte in b"._-"
        if inside and start is None:
            start = i
        elif not inside and start is not None:
            yield start, i
            start = None


def damaged(content: bytes, draw: random.Random) -> bytes:
    """As ``mutated``, and inside what is packed, whose own checks would find it otherwise."""
    if content[:2] == b"\x1f\x8b" and draw.random() < 0.7:
        return gzip.compress(damaged(gzip.decompress(content), draw), 1)
    if content[8:9] == b"{" and draw.random() < 0.5:  # safetensors: a header after its length
        end = 8 + int.from_bytes(content[:8], "little")
        header = mutated(content[8:end], draw)
        return len(header).to_bytes(8, "little") + header + content[end:]
    if content[:4] == b"PAR1" and draw.random() < 0.5:
        return other_table(content, draw)
    if content[:1] in (b"{", b"[") and draw.random() < 0.6:
        return other_json(content, draw)
    if content[:2] == b"PK" and draw.random() < 0.7:
        packed = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
            names = old.namelist()
            chosen = draw.choice(names)
            for name in names:
                inner = old.read(name)
                new.writestr(name, mutated(inner, draw) if name == chosen else inner)
        return packed.getvalue()
    return mutated(content, draw)


def other_table(content: bytes, draw: random.Random) -> bytes:
    """A Parquet file with a column that is gone, there twice, or of other values; or other rows."""
    table = pq.read_table(io.BytesIO(content))
    at, rows = draw.randrange(table.num_columns), table.num_rows
    name, column = table.schema.names[at], table.column(at)
    try:
        match draw.randrange(6):
            case 0:
                table = table.remove_column(at)
            case 1:
                table = table.append_column(name, column)
            case 2:
                same = pa.array([draw.choice(VALUES)] * rows)
                table = table.set_column(at, name, same)
            case 3:
                table = table.take([draw.randrange(rows) for _ in range(draw.randrange(2 * rows))])
            case 4:
                table = table.set_column(at, draw.choice(["", "x.y", name + "\0"]), column)
            case _:
                values = column.to_pylist()
                values[draw.randrange(rows)] = draw.choice([*VALUES, *values])
                table = table.set_column(at, name, pa.array(values))
        written = io.BytesIO()
        pq.write_table(table, written)
        return written.getvalue()
    except (pa.ArrowException, ValueError, TypeError):  # values that no column can have together
        return mutated(content, draw)


def other_json(content: bytes, draw: random.Random) -> bytes:
    """JSON, or one line of it, whose parts are gone, there twice, elsewhere, or of other values."""
    lines = [content]
    try:
        json.loads(content)
    except ValueError:
        lines = content.splitlines(keepends=True)
    at = draw.randrange(len(lines))
    try:
        tree = json.loads(lines[at])
    except ValueError:  # no JSON after all
        return mutated(content, draw)
    for _ in range(draw.choice([1, 1, 2, 4])):
        _change_part(tree, draw)
    end = b"\n" if lines[at].endswith(b"\n") else b""
    lines[at] = json.dumps(tree).encode() + end
    return b"".join(lines)


def _change_part(tree: Any, draw: random.Random) -> None:
    parts = list(_parts(tree))
    if not parts:
        return
    (where, key), (whence, other) = draw.choice(parts), draw.choice(parts)
    match draw.randrange(6):
        case 0:
            del where[key]
        case 1 if isinstance(where, list):
            where.insert(key, copy.deepcopy(where[key]))
        case 1 | 2:
            where[key] = copy.deepcopy(whence[other])
        case 3 if isinstance(where, dict):
            where[draw.choice(["", "x", key.upper(), key + " ", "é"])] = where.pop(key)
        case 4:
            where[key] = [where[key]]
        case _:
            where[key] = draw.choice([one for one in VALUES if not isinstance(one, bytes)])


def _parts(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every part of a tree, as what holds it and its key or place there."""
    within = [tree]  # no recursion: a mutated one may be thousands deep
    while within:
        whole = within.pop()
        pairs: Any = ()
        if isinstance(whole, dict):
            pairs = whole.items()
        elif isinstance(whole, list):
            pairs = enumerate(whole)
        for key, part in pairs:
            yield whole, key
            within.append(part)


@dataclass
class Seen:
    """What came of some inputs."""

    inputs: int = 0
    valid: int = 0
    refused: int = 0
    seconds: float = 0.0  # of the longest, of the processor
    peak_mib: float = 0.0  # of the process
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        self.inputs += other.inputs
        self.valid += other.valid
        self.refused += other.refused
        self.seconds = max(self.seconds, other.seconds)
        self.peak_mib = max(self.peak_mib, other.peak_mib)
        self.wrong += other.wrong


class TookTooLong(BaseException):
    pass


def sources(target: str) -> list[Path]:
    """The files that a target begins with."""
    return sorted(path for path in (CORPUS / target).rglob("*") if path.is_file())


def tried(
    target: str, count: int, seed: int, keep: Path | None = None, change: bool = True
) -> Seen:
    """Try ``count`` files of a target's corpus, each changed; wrong ones are kept in ``keep``."""
    draw, seen = random.Random(f"{target} {seed}"), Seen()
    files = sources(target)
    with tempfile.TemporaryDirectory() as made, chdir(made):
        folder = Path(made)
        small_trace(folder / "small.parquet")
        (folder / "run.yaml").write_text(
            "trace: small.parquet\nhardware: a100-pcie-40gb\ncache: {capacity: 50%}\n"
            "engine: simpy\n"
        )
        before = {path.name for path in folder.iterdir()}
        for number in range(count):
            source = draw.choice(files) if change else files[number % len(files)]
            path = folder / source.relative_to(CORPUS / target)
            if path.parent != folder:
                shutil.copytree(source.parent, path.parent, dirs_exist_ok=True)
            content = source.read_bytes()
            if change:
                content = damaged(content, draw)
            path.write_bytes(content)
            problem = _one(TARGETS[target](path), seen, folder)
            if problem is not None:
                seen.wrong.append(f"{target} {seed}.{number} ({source.name}): {problem}")
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{target}-{seed}-{number}-{source.name}").write_bytes(content)
            for left in folder.iterdir():
                if left.name not in before:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
    seen.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seen


def _one(arguments: list[str], seen: Seen, folder: Path) -> str | None:
    """What is wrong with how the command ended."""

    def stop(*_: object) -> None:
        raise TookTooLong

    out, err, code = io.StringIO(), io.StringIO(), None
    began = time.process_time()
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, stop)
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    signal.alarm(10 * LONGEST_S)  # it may wait for something
    problem = None
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except TookTooLong:
        problem = f"more than {LONGEST_S} s"
    except BaseException:
        problem = " | ".join(traceback.format_exc().splitlines()[-5:])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    seen.inputs += 1
    seen.seconds = max(seen.seconds, time.process_time() - began)
    if problem is not None:
        return problem
    lines = err.getvalue().splitlines()
    if code == 0:
        seen.valid += 1
        return None if out.getvalue().strip() else "silent"
    seen.refused += 1
    if code != 2:
        return f"exit code {code}: {err.getvalue()[-300:]}"
    if len(lines) != 1 or len(lines[0]) >= 400:
        return f"{len(lines)} lines, {max(map(len, lines), default=0)} characters: {lines[:3]}"
    half = [path.name for path in folder.rglob("*") if path.name.endswith(".tmp")]
    half += [name for name in ("out.parquet",) if (folder / name).exists()]
    return f"half-written: {half}" if half else None


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))


def run(counts: dict[str, int], seed: int, jobs: int, keep: Path | None) -> dict[str, Seen]:
    """Try so many inputs of each target, in ``jobs`` processes, a thousand inputs or so each."""
    batch = 250
    found = {target: Seen() for target in counts}
    batches = [
        (target, min(batch, count - at), seed + at)
        for target, count in counts.items()
        for at in range(0, count, batch)
    ]
    together = 4 * jobs  # then new processes: memory that one took is not the next one's
    for start in range(0, len(batches), together):
        some = batches[start : start + together]
        with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_limited) as pool:
            waiting = [pool.submit(tried, *one, keep) for one in some]
            for (target, *_), done in zip(some, waiting):
                found[target].add(done.result())
    return found


def table(found: dict[str, Seen]) -> Iterator[str]:
    yield (
        f"{'target':<12}{'inputs':>8}{'valid':>8}{'refused':>9}{'wrong':>7}"
        f"{'longest s':>11}{'peak MiB':>10}"
    )
    total = Seen()
    for target, seen in found.items():
        total.add(seen)
        yield _row(target, seen)
    yield _row("all", total)


def _row(name: str, seen: Seen) -> str:
    return (
        f"{name:<12}{seen.inputs:>8,}{seen.valid:>8,}{seen.refused:>9,}{len(seen.wrong):>7}"
        f"{seen.seconds:>11.1f}{seen.peak_mib:>10,.0f}"
    )


if __name__ == "__main__":
    counts = {}
    for word in sys.argv[2:] or TARGETS:
        name, _, own = word.partition("=")
        counts[name] = int(own or sys.argv[1])
    keep = Path(os.environ["FUZZ_KEEP"]) if "FUZZ_KEEP" in os.environ else None
    seed = int(os.environ.get("FUZZ_SEED", "0"))
    everything = run(counts, seed, int(os.environ.get("FUZZ_JOBS", "2")), keep)
    for seen in everything.values():
        print(*seen.wrong, sep="\n", end="\n" if seen.wrong else "")
    print(*table(everything), sep="\n")
    sys.exit(any(seen.wrong for seen in everything.values()))
