"""What is shown: any name on any terminal, nothing obeyed, no letter lost, and errors short."""

from __future__ import annotations

import codecs
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from cli_support import MODEL, call, command, environment, here, small_trace, write_config

from prefetch_sim.experiments import text
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import read_yaml
from prefetch_sim.sim.config.models import load_model

NAMES = ("[/x] [red]a", ":smile:", "$\\frac$ _a", "日本語 né", "a\x1b[31mb", "\u202eabc", "a'b\"c")


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "latin-1", "cp1252", "utf-8"])
def test_a_summary_on_a_terminal_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    """The trace has no prefill, so that a value is missing: –."""
    small_trace(tmp_path / "small.parquet")
    config = write_config(
        tmp_path / "run.yaml", name="né 日本", trace={"synthetic": "gpt-oss-20b", "requests": 1,
        "prompt": 0, "decode": 2},
    )  # fmt: skip
    done = subprocess.run(
        command("run", config), cwd=tmp_path, env=environment(PYTHONIOENCODING=encoding),
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert "to first token" in shown
    if encoding == "ascii":
        assert shown.startswith("n\\xe9 \\u65e5\\u672c: gpt-oss-20b")
        row = next(line for line in shown.splitlines() if line.startswith("to first"))
        assert row.split()[3:] == ["-"] * 4


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are_written(tmp_path: Path, name: str) -> None:
    small_trace(tmp_path / "small.parquet")
    spec = MODEL.model_copy(update={"name": name})
    (tmp_path / "model.yaml").write_text(
        yaml.safe_dump(spec.model_dump(mode="json"), allow_unicode=True), encoding="utf-8"
    )
    config = write_config(
        tmp_path / "run.yaml", name=name, trace="small.parquet", model="model.yaml",
        sweep={"seed": [1, 2]},
    )  # fmt: skip
    shown = text.escaped(name)
    assert "\x1b" not in shown
    done = here("run", config, "--set", "seed=1", cwd=tmp_path)
    assert done.returncode == 2  # it is a sweep
    swept = here("sweep", config, "--out", "o", "--jobs", 1, cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    plain = write_config(
        tmp_path / "one.yaml", name=name, trace="small.parquet", model="model.yaml"
    )
    done = here("run", plain, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{shown}: {shown} on a100-pcie-40gb")
    drawn = here("plot", "o", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "o/figures/stall_breakdown.svg").exists()


def test_a_table_of_names_that_look_like_markup(tmp_path: Path) -> None:
    small_trace(tmp_path / "[red]x[/red].parquet")
    shown = here("trace", "info", "[red]x[/red].parquet", cwd=tmp_path)
    assert "[red]x[/red].parquet" in shown.stdout


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, b""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32"])
def test_yaml_in_the_encodings_of_unicode(tmp_path: Path, encoding: str, mark: bytes) -> None:
    if mark and encoding != "utf-8":
        pytest.skip("a mark is of one encoding")
    path = tmp_path / "c.yaml"
    content = mark + "name: né\n".encode(encoding)
    if encoding == "utf-16-le":
        content = codecs.BOM_UTF16_LE + content
    path.write_bytes(content)
    assert read_yaml(path) == {"name": "né"}


def test_text_of_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes("name: né\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"c\.yaml: cannot be read \(not UTF-8 text\)"):
        read_yaml(tmp_path / "c.yaml")


def test_a_config_json_with_a_mark(tmp_path: Path) -> None:
    config = Path(__file__).parent / "corpus" / "model" / "config.json"
    (tmp_path / "config.json").write_text(config.read_text(), encoding="utf-8-sig")
    assert load_model(tmp_path).topology == (2, 8, 2)


@pytest.mark.parametrize(
    "value", ["x" * 100_000, "a b " * 5000, "9" * 5000, "[" * 5000, "\x1b" * 300, "é" * 5000]
)
def test_errors_cut_long_values(tmp_path: Path, value: str) -> None:
    for key in ("trace", "hardware", "cache.eviction", "predictor", value):
        config = write_config(tmp_path / "run.yaml")
        refused = here("run", config, "--set", f"{key}={value!r}", cwd=tmp_path)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert len(refused.stderr) <= 400, refused.stderr
        assert "\x1b" not in refused.stderr


def test_what_is_cut_keeps_both_ends() -> None:
    line = text.one_line(f"run.yaml: trace: no file {'a' * 1000 + 'z'!r}; did you mean 'b'?")
    assert line.startswith("run.yaml: trace: no file 'aaa")
    assert line.endswith("az'; did you mean 'b'?")


def test_a_long_field_of_a_csv_is_one_line(tmp_path: Path) -> None:
    small_trace(tmp_path / "small.parquet")
    (tmp_path / "c.csv").write_text(f"layer,expert,count\n{'1' * 200_000},0,1\n")
    config = write_config(
        tmp_path / "run.yaml", trace="small.parquet",
        cache={"capacity": "50%", "static": {"popular": "10%", "counts": "c.csv"}},
    )  # fmt: skip
    refused = here("run", config, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "c.csv" in refused.stderr


def test_a_home_of_nobody_is_one_line(tmp_path: Path) -> None:
    for where in ("trace", "trace.loads_per_step"):
        trace = {"trace": "~nobody-of-that-name/x"}
        if where != "trace":
            trace = {"trace": {"synthetic": "gpt-oss-20b", "loads_per_step": "~nobody-such/x",
                               "at": "50%"}}  # type: ignore[dict-item]  # fmt: skip
        refused = here("run", write_config(tmp_path / "run.yaml", **trace), cwd=tmp_path)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert where in refused.stderr


def test_a_notebooks_backend_has_no_say(tmp_path: Path) -> None:
    small_trace(tmp_path / "small.parquet")
    backend = "module://matplotlib_inline.backend_inline"
    done = call("plot", "--trace", "small.parquet", "--out", "f", cwd=tmp_path, MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "f").glob("*.png"))) == 4


def test_no_array_is_read_before_it_is_measured(tmp_path: Path) -> None:
    from prefetch_sim.traces.arrays import map_npy, read_npz
    from prefetch_sim.traces.trace import TraceError

    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(300 << 20, np.uint8))
    with pytest.raises(TraceError, match=r"bomb\.npz: unpacks to 314,572,928 bytes, more than"):
        read_npz(tmp_path / "bomb.npz")
    np.save(tmp_path / "x.npy", np.arange(12.0))
    whole = (tmp_path / "x.npy").read_bytes()
    assert map_npy(tmp_path / "x.npy").sum() == 66
    for wrong in (
        whole[:-1], whole + b"\0", whole[:20], b"", whole.replace(b"(12,)", b"(9*9999999,)"),
        whole.replace(b"<f8", b"|O8"), whole.replace(b"'shape'", b"'shap'  "),
        whole.replace(b"(12,), }", b"(12,), ("),
    ):  # fmt: skip
        (tmp_path / "x.npy").write_bytes(wrong)
        with pytest.raises(TraceError, match=r"x\.npy: damaged: "):
            map_npy(tmp_path / "x.npy")


def test_a_heading_says_what_a_figure_by_precision_is_of() -> None:
    paths = ["hardware.cpu.expert_gb_s.bf16", "cache.eviction.name", "hardware.host_link.gb_s"]
    assert text.last_parts(paths) == ["expert_gb_s.bf16", "eviction", "gb_s"]
