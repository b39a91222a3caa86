"""Where a key or a folder is not what was meant: one line that says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cli_support import run_cli, small_trace, write_config

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"cache.eviction": "x"}, "cache.eviction: unknown key; dots do not nest here: write "
         "cache: {eviction: …}"),
        ({"hardware.host_link.gb_s": 5}, "write hardware: {host_link: {gb_s: …}}"),
        ({"cache": {"capacity.share": 0.5}}, "write capacity: {share: …}"),
        ({"cache.evicton": "x"}, "write cache: {evicton: …}"),
        ({"cach.eviction": "x"}, "did you mean 'cache.eviction'?"),
    ],
)  # fmt: skip
def test_a_dotted_key_is_to_be_nested(tree: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(tree, "s.yaml")
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [
        ("plot", "none", "--out", ""),
        ("plot", "none", "--x", "seed", "--out", ""),
        ("sweep", "s.yaml", "--out", ""),
        ("sweep", "s.yaml", "--out="),
        ("replay", "s.yaml", "--device", "cpu", "--storage", ""),
        ("hardware", "calibrate", "-o", "x.yaml", "--storage", ""),
        ("validate", "s.yaml", "--storage", ""),
        ("validate", "s.yaml", "--out", ""),
        ("trace", "train", "s.yaml", "--out", ""),
        ("trace", "capture", "--model", "m", "--prompts", "s.yaml", "--out", ""),
    ],
)
def test_an_empty_name_is_no_folder(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(yaml.safe_dump({"sweep": {"seed": [1]}}))
    done = run_cli(*command)
    assert (done.code, done.out) == (2, "")
    assert "is empty" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


@pytest.mark.parametrize(
    "command", [("replay", "s.yaml", "--device", "cpu"), ("hardware", "calibrate", "-o", "x.yaml")]
)
def test_a_file_is_no_folder_of_a_drive(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = run_cli(*command, "--storage", tmp_path / "taken")
    says = f"error: --storage: {tmp_path / 'taken'}: is a file, not a folder\n"
    assert (done.code, done.err) == (2, says)


@pytest.mark.parametrize("out", ["taken", "/dev/null"])
def test_a_file_is_no_folder_for_figures(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("")
    done = run_cli("plot", "none", "--out", out)
    assert (done.code, done.err) == (2, f"error: --out {out}: is a file, not a folder\n")
    done = run_cli("plot", "--trace", "mini-gpt-oss", "--out", out)
    assert (done.code, done.err) == (2, f"error: --out {out}: is a file, not a folder\n")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("run", "run.yaml"), "--timeline"),
        (("advise", "--model", "olmoe-1b-7b", "--gpu", "rtx-4090"), "--config"),
        (("trace", "import", "in.csv"), "--out"),
    ],
)
@pytest.mark.parametrize("name", ["part-00000.parquet", "x.json"])
def test_no_file_is_written_among_a_traces_parts(
    command: tuple[str, ...],
    option: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    small_trace(tmp_path / "small.parquet")
    write_config(tmp_path / "run.yaml", trace="small.parquet")
    Path("in.csv").write_text("request,position,layer,experts\na,0,0,0 1\n")
    Path("taken").mkdir()
    Path("taken", "part-00000.parquet").write_text("")
    done = run_cli(*command, option, f"taken/{name}")
    assert (done.code, done.out) == (2, "")
    assert option in done.err
    assert "taken" in done.err
    assert Path("taken", "part-00000.parquet").read_text() == ""
    assert len(list(Path("taken").iterdir())) == 1


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (("part-00000.parquet",), "the parts of a trace"),
        (("gates.npz",), "the parts of a trace"),
        (("config.json", "model-00001-of-2.safetensors"), "a model"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("sweep", "s.yaml", "--jobs", "1"),
        ("plot", "none"),
        ("plot", "--trace", "mini-gpt-oss"),
        ("validate", "s.yaml"),
        ("trace", "train", "mini-gpt-oss"),
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_the_folder_of_a_trace_or_a_model_takes_nothing_else(
    command: tuple[str, ...],
    held: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A capture would not go on beside it."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(yaml.safe_dump({"hardware": "rtx-4090", "sweep": {"seed": [1]}}))
    Path("taken").mkdir()
    for name in held:
        Path("taken", name).write_text("")
    if command[:2] == ("trace", "train"):
        pytest.importorskip("transformers", reason="needs the capture extra (transformers)")
    done = run_cli(*command, "--out", "taken")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: --out taken: holds {says}; name another folder\n"
    assert sorted(path.name for path in Path("taken").iterdir()) == sorted(held)
