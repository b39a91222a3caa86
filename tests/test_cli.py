"""The command as a user meets it: results on stdout, errors in one line, nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from cli_support import MODEL, call, environment, here, small_trace, write_config
from typer.testing import CliRunner

from prefetch_sim.experiments.cli import app, main
from prefetch_sim.traces.trace import Trace

KEYS = {
    "tpot_ms", "ttft_ms", "tokens_per_s", "hit_rate", "loads", "bytes", "stall_ms", "compute_ms",
    "prefetch", "predictors", "bounds_ms", "regret_ms", "events", "steps", "layer_steps",
}  # fmt: skip


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return small_trace(tmp_path / "small.parquet")


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_run_prints_one_json_object_with_the_agreed_keys(tmp_path: Path, trace: Trace) -> None:
    config = write_config(tmp_path / "run.yaml", trace=str(trace_path(tmp_path)), predictor="guess")
    found = json.loads(invoke("run", config, "--json").stdout)
    assert set(found) >= KEYS
    assert found["predictors"]["guess"]["slot_recall"] == 1.0
    counts = found["prefetch"]
    assert counts["proposed"] == sum(n for name, n in counts.items() if name != "proposed") > 0


def test_run_prints_a_summary_for_people(tmp_path: Path, trace: Trace) -> None:
    config = write_config(tmp_path / "run.yaml", trace=str(trace_path(tmp_path)), predictor="guess")
    shown = invoke("run", config)
    assert shown.exit_code == 0
    for text in (
        "per output token",
        "stall: demand miss",
        "clairvoyant",
        "slot recall",
        "hit rate",
    ):
        assert text in shown.stdout
    assert "warning" not in shown.stderr


def test_run_warns_of_a_cache_below_one_lap(tmp_path: Path, trace: Trace) -> None:
    config = write_config(tmp_path / "run.yaml", trace=str(trace_path(tmp_path)))
    shown = invoke("run", config, "--json", "--set", "cache.capacity={experts: 7}")
    assert "below one lap, 4 layers x top-2" in shown.stderr
    assert json.loads(shown.stdout)["steps"] == 27


def test_run_warns_of_a_cache_hardly_above_one_lap_where_it_prefetches(
    tmp_path: Path, trace: Trace
) -> None:
    config = write_config(tmp_path / "run.yaml", trace=str(trace_path(tmp_path)))
    for experts, predictor, warned in (
        (8, "oracle", True),
        (9, "oracle", False),
        (8, "none", False),
    ):
        said = (f"cache.capacity={{experts: {experts}}}", f"predictor={predictor}")
        settings = [part for one in said for part in ("--set", one)]
        shown = invoke("run", config, "--json", *settings)
        assert shown.exit_code == 0
        assert ("hardly more than one lap" in shown.stderr) is warned


def test_set_replaces_a_key_by_its_path(tmp_path: Path, trace: Trace) -> None:
    config = write_config(tmp_path / "run.yaml", trace=str(trace_path(tmp_path)))
    whole = json.loads(invoke("run", config, "--json").stdout)
    one = json.loads(invoke("run", config, "--json", "--set", "requests=0:1").stdout)
    assert (whole["steps"], one["steps"]) == (27, 9)


def test_a_run_is_the_same_bytes_in_another_process_with_another_hash_seed(
    tmp_path: Path, trace: Trace
) -> None:
    config = write_config(
        tmp_path / "run.yaml",
        trace="small.parquet",
        predictor=[{"name": "oracle", "recall": 0.7, "distance": 2}, "guess"],
        cache={"capacity": "40%", "eviction": "random"},
        prefetch={"extra": 1},
    )
    first, second = (
        call("run", config, "--json", cwd=tmp_path, PYTHONHASHSEED=seed) for seed in ("1", "4242")
    )
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout != ""


# Bad input


def trace_path(folder: Path) -> Path:
    return folder / "small.parquet"


def with_expert(trace: Trace, row: int, layer: int, slot: int, expert: int) -> dict[str, Any]:
    """The trace's ``experts`` column with one id replaced, as nested lists."""
    experts = trace.experts.copy()
    experts[row, layer, slot] = expert
    return {"experts": experts.tolist()}


def rewrite(path: Path, columns: dict[str, Any]) -> None:
    """Replace columns of a trace file, its metadata kept, past the writer's own checks."""
    table = pq.read_table(path)
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, pa.array(values, field.type))
    pq.write_table(table, path)


def break_truncated(path: Path, trace: Trace) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def break_range(path: Path, trace: Trace) -> None:
    rewrite(path, with_expert(trace, 5, 2, 1, 99))


def break_duplicate(path: Path, trace: Trace) -> None:
    rewrite(path, with_expert(trace, 5, 2, 1, int(trace.experts[5, 2, 0])))


def break_weight(path: Path, trace: Trace) -> None:
    assert trace.weights is not None
    weights = trace.weights.copy()
    weights[5, 2, 0] = np.nan
    rewrite(path, {"weights": [[list(layer) for layer in row] for row in weights]})


BAD_CONFIGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "misspelt key": ({"cache": {"capasity": "50%"}}, ["cache.capasity", "'capacity'"]),
    "misspelt section": ({"prefech": {"extra": 1}}, ["prefech", "'prefetch'"]),
    "unknown hardware": ({"hardware": "rtx-409"}, ["hardware", "'rtx-4090'"]),
    "unknown predictor": ({"predictor": "gues"}, ["predictor", "'guess'"]),
    "unknown eviction": ({"cache": {"eviction": "lruu"}}, ["cache.eviction", "'lru'"]),
    "small cache": ({"cache": {"capacity": {"experts": 1}}}, ["cache.capacity", "top-2"]),
    "wrong model": ({"model": "gpt-oss-20b"}, ["model", "gpt-oss-20b", "tiny"]),
    "no such trace": ({"trace": "smal.parquet"}, ["trace", "smal.parquet"]),
    "no policy": ({"cache": {"eviction": "os.path"}}, ["cache.eviction", "'inserted'"]),
    "long slice": ({"requests": "0:9"}, ["requests", "3 requests"]),
    "empty slice": ({"requests": "9:"}, ["requests", "9:"]),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_a_bad_config_is_one_line_and_exit_2(case: str, tmp_path: Path, trace: Trace) -> None:
    keys, expected = BAD_CONFIGS[case]
    config = write_config(tmp_path / "bad.yaml", **{"trace": "small.parquet"} | keys)
    expect_refusal(tmp_path, config, ["bad.yaml", *expected])


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (break_truncated, []),
        (break_range, ["row 5", "layer 2", "99"]),
        (break_duplicate, ["row 5", "layer 2"]),
        (break_weight, ["row 5", "layer 2"]),
    ],
)
def test_a_bad_trace_is_one_line_and_exit_2(
    spoil: Any, expected: list[str], tmp_path: Path, trace: Trace
) -> None:
    spoil(trace_path(tmp_path), trace)
    config = write_config(tmp_path / "bad.yaml", trace="small.parquet")
    expect_refusal(tmp_path, config, ["bad.yaml", "small.parquet", *expected])


def test_a_weight_that_is_not_a_number_is_refused(tmp_path: Path, trace: Trace) -> None:
    break_weight(trace_path(tmp_path), trace)
    refused = call("trace", "validate", "small.parquet", cwd=tmp_path)
    assert_one_line(refused, ["small.parquet", "row 5", "layer 2"])


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n", "", "a: [1, 2\n", "1: 2\n"])
def test_a_config_that_is_no_mapping_is_refused(text: str, tmp_path: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(text)
    expect_refusal(tmp_path, config, ["bad.yaml"])


def expect_refusal(folder: Path, config: Path, expected: list[str]) -> None:
    """A run with a timeline is refused in one line that says ``expected``, and writes nothing."""
    before = sorted(folder.rglob("*"))
    refused = here("run", config.name, "--json", "--timeline", "t.json", cwd=folder)
    assert_one_line(refused, expected)
    assert sorted(folder.rglob("*")) == before


def assert_one_line(refused: Any, expected: list[str]) -> None:
    assert refused.returncode == 2, refused.stderr
    assert refused.stdout == ""
    lines = refused.stderr.splitlines()
    assert len(lines) == 1, refused.stderr
    assert lines[0].startswith("error: ")
    for text in expected:
        assert text in lines[0]


def test_a_sweep_given_to_run_says_what_to_use(tmp_path: Path, trace: Trace) -> None:
    config = write_config(tmp_path / "s.yaml", trace="small.parquet", sweep={"seed": [1, 2]})
    refused = call("run", config, cwd=tmp_path)
    assert_one_line(refused, ["prefetch-sim sweep"])


def test_an_unwritable_output_is_one_line(
    tmp_path: Path, trace: Trace, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    config = write_config(
        tmp_path / "s.yaml", trace=str(trace_path(tmp_path)), sweep={"seed": [1, 2]}
    )
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", str(config), "--out", str(tmp_path / "file" / "out")])
    assert stopped.value.code == 2
    assert_error(capsys, "file")


def assert_error(capsys: pytest.CaptureFixture[str], text: str) -> None:
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert text in shown.err


# The catalogue and traces


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("predictors", "oracle"),
        ("predictors", "none"),
        ("prefetch", "top-k"),
        ("evictions", "lru"),
        ("hardware", "snapdragon-8"),
        ("models", "gpt-oss-20b"),
    ],
)
def test_list_names_what_there_is(kind: str, name: str) -> None:
    shown = invoke("list", kind)
    assert shown.exit_code == 0
    row = next(line for line in shown.stdout.splitlines() if line.startswith(f"{name} "))
    assert len(row.split()) > 2


def test_hardware_show_gives_every_number_and_its_source() -> None:
    shown = invoke("hardware", "show", "a100-pcie-40gb").stdout
    for text in ("host_link.gb_s", "compute.memory_gb_s", "measured", "datasheet", "estimate"):
        assert text in shown


def test_hardware_show_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["hardware", "show", "snapdragn-8"])
    assert stopped.value.code == 2
    assert_error(capsys, "did you mean 'snapdragon-8'?")


def test_trace_info_and_validate(tmp_path: Path, trace: Trace) -> None:
    path = trace_path(tmp_path)
    assert "tiny: 4 MoE layers x 8 experts, top-2" in invoke("trace", "info", path).stdout
    assert json.loads(invoke("trace", "info", path, "--json").stdout)["tokens"]["all"] == 36
    assert "good: 3 requests, 36 tokens" in invoke("trace", "validate", path).stdout


def test_trace_import_reads_another_tools_recording(tmp_path: Path) -> None:
    source = tmp_path / "tiny.route.csv"
    rows = ["turn,phase,step,layer,slot,expert,weight,residency,expert_bytes"]
    rows += [
        f"0,1,{step},{layer},{slot},{(step + slot) % 4},0.5,0,1000"
        for step in range(3) for layer in range(2) for slot in range(2)
    ]  # fmt: skip
    head = ["# route_trace v1", "# model=tiny arch=qwen3moe n_layer=2 n_expert=4 n_expert_used=2"]
    head += [f"# layer={layer} expert_bytes=1000 dense_bytes=10" for layer in range(2)]
    source.write_text("\n".join([*head, *rows]) + "\n")
    out = tmp_path / "tiny.parquet"
    shape = MODEL.model_copy(update={"layers": 2, "experts": 4})
    model = tmp_path / "model.yaml"
    model.write_text(yaml.safe_dump(shape.model_dump(mode="json")))
    shown = invoke("trace", "import", source, "-o", out, "--model", model)
    assert shown.exit_code == 0, shown.exception
    assert "3 tokens" in shown.stdout
    assert "good" in invoke("trace", "validate", out).stdout


def test_trace_import_of_an_unknown_file_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.bin").write_bytes(b"nothing known")
    with pytest.raises(SystemExit) as stopped:
        main(["trace", "import", str(tmp_path / "x.bin"), "-o", str(tmp_path / "out.parquet")])
    assert stopped.value.code == 2
    assert_error(capsys, "x.bin")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    "words",
    [[], ["run"], ["sweep"], ["plot"], ["list"], ["hardware"], ["hardware", "show"], ["trace"],
     ["trace", "info"], ["trace", "import"], ["trace", "validate"]],
)  # fmt: skip
def test_every_command_has_help(words: list[str]) -> None:
    shown = invoke(*words, "-h")
    assert shown.exit_code == 0
    assert "Usage" in shown.stdout


def test_help_does_not_load_what_it_does_not_need(tmp_path: Path) -> None:
    code = (
        "import sys; from prefetch_sim.experiments.cli import main\n"
        "try: main(['-h'])\n"
        "except SystemExit: pass\n"
        "heavy = {'matplotlib', 'pyarrow', 'pandas', 'simpy', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), cwd=tmp_path,
                   capture_output=True)  # fmt: skip
