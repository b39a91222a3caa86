"""Every importer: its smallest file becomes a trace that validates and runs, the same from all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_support import call
from recordings import NEEDS, PROMPTS, SHAPE, WRITERS, make_trace

from prefetch_sim.sim.config.files import parse
from prefetch_sim.sim.run import run
from prefetch_sim.traces.format import Trace, read_trace, write_trace
from prefetch_sim.traces.importers import FORMATS, import_trace

DECODED = make_trace(SHAPE, [(0, 4)], seed=5)
PROMPTED = make_trace(SHAPE, [(3, 2)], seed=6)


def test_every_importer_has_its_writer() -> None:
    """A new importer is one file, and one writer in ``recordings.py``."""
    assert WRITERS.keys() == FORMATS.keys()


def write(name: str, path: Path, trace: Trace) -> Path:
    pytest.importorskip(NEEDS.get(name, "numpy"))
    WRITERS[name](path, trace)
    return path


def same(read: Trace, trace: Trace) -> None:
    for column in ("request_id", "position", "phase", "experts"):
        np.testing.assert_array_equal(getattr(read, column), getattr(trace, column), column)
        assert getattr(read, column).dtype == getattr(trace, column).dtype, column


@pytest.mark.parametrize(
    ("name", "trace"),
    [
        *((name, DECODED) for name in WRITERS),
        *((name, PROMPTED) for name in PROMPTS),
    ],
)
def test_the_smallest_file_runs(name: str, trace: Trace, tmp_path: Path) -> None:
    recording = write(name, tmp_path / "recording", trace)
    imported = import_trace(recording, model=SHAPE)
    same(imported, trace)
    assert imported.meta.recorded["format"].split()[0] == name
    write_trace(tmp_path / "t.parquet", imported)
    same(read_trace(tmp_path / "t.parquet"), trace)
    tree = {"trace": str(tmp_path / "t.parquet"), "cache": {"capacity": {"experts": 6}}}
    result = run(parse(tree, "run.yaml"))
    assert result["tpot_ms"]["mean"] > 0


@pytest.mark.parametrize("name", WRITERS)
def test_each_is_recognised_for_what_it_is(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path / "recording", DECODED)
    head = b"" if path.is_dir() else path.read_bytes()[:4096]
    assert [other for other, module in FORMATS.items() if module.matches(head, path)] == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_of_several_is_one_trace(name: str, tmp_path: Path) -> None:
    """In the order in which people count, requests numbered on."""
    (tmp_path / "folder").mkdir()
    traces = [make_trace(SHAPE, [(0, 2 + n)], seed=n) for n in range(3)]
    paths = [tmp_path / "folder" / f"p_{n}" for n in (2, 9, 10)]
    for path, trace in zip(paths, traces):
        write(name, path, trace)
    of = paths if paths[0].is_dir() else tmp_path / "folder"  # a folder may be one recording
    joined = import_trace(of, model=SHAPE)
    assert joined.requests == [(0, 0, 2), (1, 2, 5), (2, 5, 9)]
    np.testing.assert_array_equal(joined.experts, np.concatenate([t.experts for t in traces]))


@pytest.mark.parametrize("name", WRITERS)
def test_damage_is_one_short_line(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path / "recording", DECODED)
    if path.is_dir():
        path = next(iter(sorted(path.iterdir())))
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    for turn in range(40):
        content = bytearray(whole)
        if turn % 2:
            del content[int(rng.integers(len(content))) :]
        else:
            for at in rng.integers(len(content), size=3).tolist():
                content[at] = int(rng.integers(256))
        path.write_bytes(content)
        for message in problems(path, name):
            assert message.startswith("TraceError: "), message
            assert "\n" not in message
            assert len(message) < 400 + len(str(path)), message


def problems(path: Path, name: str) -> Iterator[str]:
    """What importing says, by content and by name, where it says anything."""
    for format in (None, name):
        try:
            import_trace(path, format, SHAPE)
        except Exception as error:
            yield f"{type(error).__name__}: {error}"


def test_by_command(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SHAPE.model_dump_json())
    for name in ("a", "b"):
        write("csv", tmp_path / name, PROMPTED)
    out = ("-o", "t.parquet", "--model", "tiny.yaml")
    said = call("trace", "import", "a", "b", *out, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        "t.parquet: 2 requests, 10 tokens, tiny",
        "  a and b hold the same routing; of ranks import one",
    ]
