"""Where a key or a folder is not what was meant: one line that says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cli_support import run_cli

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
