"""Mistakes that people make, each with the answer they get: one line that helps, or what was meant.

Here are those of configs, names and paths. Of recording and training see test_capture and test_lab.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_support import Ended, here, run_cli, small_trace, write_config

from prefetch_sim.sim.config.files import parse, read_config
from prefetch_sim.sim.config.paths import seen_from, seen_from_here
from prefetch_sim.sim.config.values import Capacity
from prefetch_sim.sim.setup.inputs import Inputs, load

LITTLE: dict[str, Any] = {"synthetic": "gpt-oss-20b", "requests": 1, "prompt": 1, "decode": 2}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a small trace of a model of its own in it."""
    small_trace(tmp_path / "small.parquet", requests=1, decode=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ended(
    *assignments: str, trace: Any = "small.parquet", command: str = "run", **keys: Any
) -> Ended:
    """``run`` of a config with ``assignments`` by --set."""
    config = write_config(Path("run.yaml"), **({"trace": trace} if trace else {}), **keys)
    sets = [word for assignment in assignments for word in ("--set", assignment)]
    more = ["--out", "out", "--jobs", 1] if command == "sweep" else ["--json"]
    return run_cli(command, config, *more, *sets)


def refused(*assignments: str, **keys: Any) -> str:
    """The one line with which it is refused."""
    end = ended(*assignments, **keys)
    assert (end.code, end.out) == (2, ""), end
    assert end.err.startswith("error: run.yaml")
    assert end.err.count("\n") == 1
    return end.err


def inputs(**keys: Any) -> Inputs:
    return load(parse({"trace": LITTLE, **keys}, "my.yaml"))


# Sizes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("4GB", 4e9), ("4 GB", 4e9), ("4gb", 4e9), ("4G", 4e9), ("4 g", 4e9), ("0.004TB", 4e9),
        ("8000MB", 8e9), ("8000m", 8e9), ("4GiB", 2**32), ("4gib", 2**32), ("4Gi", 2**32),
    ],
)  # fmt: skip
def test_sizes_as_people_write_them(text: str, nbytes: float) -> None:
    assert Capacity.model_validate(text).bytes == nbytes


@pytest.mark.parametrize("text", ["8000", "0.5", "50", "-10%", "150%", "4 apples", "G"])
def test_what_is_no_size_is_refused(folder: Path, text: str) -> None:
    message = refused(f"cache.capacity={text}")
    assert "cache.capacity: " in message
    assert "write '25%', '4000MiB'" in message or "0 % < share <= 100 %" in message


@pytest.mark.parametrize("text", ["auto", "max", "all"])
def test_all_there_is_is_called_fill(folder: Path, text: str) -> None:
    assert "did you mean 'fill', all that the rest leaves?" in refused(f"cache.capacity={text}")


def test_more_than_the_card_has_says_what_else_is_there(folder: Path) -> None:
    message = refused("cache.capacity=23GiB", trace=LITTLE, hardware="rtx-4090")
    assert "23.00 GiB do not fit in the 24 GiB of rtx-4090 beside" in message
    assert "GiB of other weights" in message


def test_a_cache_below_one_lap_is_warned_of(folder: Path) -> None:
    end = ended("cache.capacity={experts: 3}")
    assert end.code == 0
    assert "below one lap, 4 layers x top-2" in end.err
    assert "LRU keeps none of it for the next" in end.err


# Names


@pytest.mark.parametrize(
    ("hardware", "name"),
    [
        ("RTX 4090", "rtx-4090"),
        ("RTX4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("RTX 3060", "rtx-3060-12gb"),
        ({"gpu": "GeForce RTX 3060", "cpu": "Ryzen 9 5950X"}, "rtx-3060-12gb"),
    ],
)
def test_a_card_by_the_name_on_its_box(hardware: Any, name: str) -> None:
    assert inputs(hardware=hardware).profile.name == name


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("hardware=RTX 4050", "hardware: unknown hardware 'RTX 4050'; did you mean 'rtx-40"),
        ("hardware=V100", "hardware 'V100' may be 'v100-pcie-32gb' or 'v100-sxm2-32gb'; say which"),
        ("hardware.cpu=ryzen-5950", "cpu: unknown cpu 'ryzen-5950'; did you mean 'ryzen-5950x'?"),
        ("model=mixtral", "unknown model 'mixtral'; did you mean 'mixtral-8x7b'?"),
        ("model=Qwen/Qwen4", "unknown model 'Qwen4'; did you mean 'qwen3"),
        ("model=model.gguf", "model: model.gguf: no such file; looked for /"),
        ("runtime=vllm", "runtime: unknown runtime 'vllm'; "),
        ("predictor=orcale", "predictor: unknown predictor 'orcale'; did you mean 'oracle'?"),
    ],
)
def test_an_unknown_name_has_the_nearest(folder: Path, assignment: str, message: str) -> None:
    assert message in refused(assignment)


def test_a_published_model_by_its_id() -> None:
    found = inputs(trace=None, model="Qwen/Qwen3-30B-A3B", requests="0:1")
    assert (found.model.name, found.config.trace) == ("qwen3-30b-a3b", "mini-qwen3-30b-a3b")


def test_what_is_changed_of_a_machine_is_in_its_name(folder: Path) -> None:
    figure = {"value": 9.5, "kind": "measured", "source": "this machine", "uncertainty": 0}
    found = inputs(
        hardware={"name": "RTX 4090", "host_link": {"gb_s": figure}, "cpu": "Ryzen 9 5950X"},
        runtime={"kernels": "eager"},
    )
    assert found.as_given == {
        "model": "gpt-oss-20b",
        "hardware": "rtx-4090 with host_link.gb_s 9.5, cpu Ryzen 9 5950X",
        "runtime": "ideal with kernels eager",
    }
    end = run_cli("run", write_config(Path("run.yaml"), trace="small.parquet"), "--set",
                  "hardware.host_link.gb_s=12.3")  # fmt: skip
    assert "run: tiny on a100-pcie-40gb with host_link.gb_s 12.3, runtime ideal" in end.out


# Models, traces, machines that belong together


def test_a_model_without_a_trace_has_the_bundled_one_and_says_so(folder: Path) -> None:
    keys = {"model": "phi-3.5-moe", "cache": {"capacity": "25%"}}
    end = ended(trace=None, requests="0:1", tokens="0:2", **keys)
    assert end.code == 0
    assert "trace: none given; takes the routing of mini-phi-mini-moe\n" in end.err
    assert json.loads(end.out)["config"]["trace"] == "mini-phi-mini-moe"


def test_a_machine_alone_has_a_published_model_and_says_so(folder: Path) -> None:
    end = ended(trace=None, hardware="l4", requests="0:1", tokens="0:2")
    assert end.code == 0
    assert (
        "model: none given; simulates gpt-oss-20b (24 MoE layers x 32 experts, top-4, 12.6 MiB an "
        "expert) with the routing of mini-gpt-oss\n"
    ) in end.err
    assert json.loads(end.out)["model"] == "gpt-oss-20b"


@pytest.mark.parametrize(
    ("trace", "model"),
    [("mini-gpt-oss", "gpt-oss-20b"), ("mini-phi-mini-moe", "phi-mini-moe")],
)
def test_a_bundled_trace_alone_is_of_a_small_model_and_says_so(trace: str, model: str) -> None:
    (note,) = inputs(trace=trace, requests="0:1").notes
    assert f"simulates {trace}, the small model that the trace was recorded on" in note
    assert note.endswith(f"write model: {model} for a published one's sizes")
    assert inputs(trace=trace, requests="0:1", model=model).notes == ()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"trace": "mini-gpt-oss", "model": "qwen3-30b-a3b"},
            "model: qwen3-30b-a3b routes 48 MoE layers x 128 experts, top-8, but the trace was "
            "recorded on mini-gpt-oss with 24 MoE layers x 32 experts, top-4; "
            "write trace: mini-qwen3-30b-a3b",
        ),
        (
            {"trace": "small.parquet", "model": "mixtral-8x7b"},
            "with 4 MoE layers x 8 experts, top-2; write trace: {synthetic: mixtral-8x7b}",
        ),
        (
            {"trace": None, "model": "olmoe-1b-7b"},
            "trace: none is given, and no bundled one routes as olmoe-1b-7b does, 16 MoE layers x "
            "64 experts, top-8: write trace: {synthetic: olmoe-1b-7b}",
        ),
    ],
)
def test_a_trace_of_another_model_names_the_cure(
    folder: Path, keys: dict[str, Any], message: str
) -> None:
    assert message in refused(**keys)


def test_more_at_a_time_than_there_are_is_warned_of(folder: Path) -> None:
    end = ended("batch_size=64")
    assert end.code == 0
    assert "warning: batch_size: 64 at a time, but there is one request\n" in end.err
    assert "batch_size" not in ended().err
    swept = ended(command="sweep", sweep={"batch_size": [1, 64], "seed": [0, 1]})
    assert swept.err.count("warning: batch_size: 64 at a time") == 1


# Figures and keys


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("hardware.host_link.gb_s=-12", ["host_link.gb_s", "greater than or equal to 0"]),
        ("hardware.host_link.gb_s=0", ["host_link.gb_s", "must be positive"]),
        ("hardware.host_link.gb_s='12 GB/s'", ["'12 GB/s' is not a number in GB/s"]),
        ("hardware.host_link.gbs=12", ["did you mean 'host_link.gb_s'?"]),
        ("predictor={name: oracle, recall: 80}", ["predictor.recall: ", "80"]),
        ("predictor={name: oracle, recall: 80%}", ["predictor.recall: ", "'80%'"]),
        ("predictor={name: oracle, distance: 50}", ["distance 50 reaches past the last of 4"]),
        ("predictor={name: oracle, accuracy: 1}", ["predictor.accuracy: unknown key; "]),
        ("predictor=oracle:0.8", ["'oracle:0.8' is no name: write {name: oracle, recall: 0.8}"]),
        ("predictor=oracle(80%)", ["write {name: oracle, recall: 0.8}"]),
        ("predictor=guess:2", ["write {name: guess, distance: 2}"]),
        ("cache.size=4GB", ["cache.size: unknown key; known: capacity, "]),
        ("prefetch.topk=2", ["prefetch.topk: unknown key; known: cancel_stale, extra, "]),
        ("eviction=lru", ["eviction: unknown key; did you mean 'cache.eviction'?"]),
        ("capacity=4GB", ["capacity: unknown key; did you mean 'cache.capacity' or 'host."]),
        ("evicton=lru", ["evicton: unknown key; did you mean 'cache.eviction'?"]),
        ("cache.policy=lru", ["did you mean 'prefetch.policy' or 'misses.policy'?"]),
        ("cache.static.scope=layer", ["did you mean 'cache.scope'?"]),
        ("hardwear=l4", ["hardwear: unknown key; did you mean 'hardware'?"]),
        ("gpu=l4", ["'gpu' is written hardware.gpu"]),
        ("cpu=ddr4-dual", ["'cpu' is written hardware.cpu"]),
        ("host_link.gb_s=12", ["'host_link' is written hardware.host_link"]),
        ("recall=0.8", ["'recall' is written predictor.recall"]),
        ("overlap=per-expert", ["'overlap' is written runtime.overlap"]),
        (
            "runtime.overlap=per-expert",
            ["overlap: Input should be 'per_expert', 'grouped' or 'none'"],
        ),
        ("quant=Q4_K_M", ["'quant' is written precision"]),
        ("trace=smal.parquet", ["'smal.parquet'; looked for /", "did you mean 'small.parquet'?"]),
        ("trace=mini-gpt-os", ["no file or sample 'mini-gpt-os'; did you mean 'mini-gpt-oss'?"]),
    ],
)
def test_a_wrong_key_or_value(folder: Path, assignment: str, words: list[str]) -> None:
    message = refused(assignment)
    for word in words:
        assert word in message


def test_every_missing_figure_of_a_profile_is_named_at_once(folder: Path) -> None:
    text = (
        "name: box\ndescription: mine\nunified_memory: false\ncompute: {memory_gib: {value: 24}}\n"
    )
    Path("box.yaml").write_text(text)
    message = refused("hardware=box.yaml")
    for words in (
        "compute.{tflops.bf16, memory_gb_s, ", "memory_gib.kind, memory_gib.source",
        "host_link.{gb_s, ", "host.{memory_gib}",
        "storage.{gb_s, stream_gb_s, latency_us, queue_depth, read_mib}",
    ):  # fmt: skip
        assert words in message


# Files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"trace: small.parquet\n\tseed: 1\n", ", line 2: "),
        (b"seed: 1\nname: x\nseed: 2\n", ", line 3: the key 'seed' is given twice"),
        (b"", ": expected a mapping of keys, but it is empty"),
        (b"PAR1\xff\xfe\x00", ": cannot be read (not UTF-8 text)"),
        (b'name: "\\ud800"\n', ", line 1: '\\ud800' has half of a character"),
    ],
)
def test_a_file_that_is_no_config(folder: Path, content: bytes, message: str) -> None:
    Path("run.yaml").write_bytes(content)
    end = run_cli("run", "run.yaml")
    assert (end.code, end.out) == (2, "")
    assert end.err.count("\n") == 1
    assert f"run.yaml{message}" in end.err


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbftrace: small.parquet\r\nhardware: l4\r\ncache: {capacity: 50%}\r\n",
        b'{"trace": "small.parquet", "hardware": "l4", "cache": {"capacity": "50%"}, '
        b'"name": "\\ud83d\\ude80"}',
    ],
)
def test_a_config_of_another_editor(folder: Path, content: bytes) -> None:
    Path("run.yaml").write_bytes(content)
    assert run_cli("run", "run.yaml", "--json").code == 0


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"cache.capasity": ["10%"]}, "cache.capasity: unknown key; did you mean 'capacity'?"),
        ({"cache.capacity": "10%"}, "sweep.cache.capacity: needs a list of values"),
        ({"cache.capacity": []}, "sweep.cache.capacity: needs a list of values"),
        ({"cache.capacity": ["50%", "lots"]}, "[cache.capacity=lots]: cache.capacity: 'lots' is"),
    ],
)
def test_a_wrong_axis_is_refused_before_a_point_runs(
    folder: Path, axes: dict[str, Any], message: str
) -> None:
    assert message in refused(command="sweep", sweep=axes)
    assert not Path("out").exists()


def test_run_and_sweep_send_to_each_other(folder: Path) -> None:
    assert "use 'prefetch-sim sweep'" in refused(sweep={"seed": [1]})
    assert "sweep: missing; write a mapping of dotted paths to lists" in refused(command="sweep")


@pytest.mark.parametrize("out", ["o 2 ü/結果 dir", "C:\\results\\moe"])
def test_results_go_where_it_is_said(folder: Path, out: str) -> None:
    config = write_config(Path("s.yaml"), trace="small.parquet", sweep={"seed": [1]})
    assert run_cli("sweep", config, "--out", out, "--jobs", 1).code == 0
    assert (folder / out / "results.csv").exists()
    wrong = run_cli("sweep", config, "--out", "s.yaml", "--jobs", 1)
    assert (wrong.code, wrong.err) == (2, "error: --out s.yaml: is a file, not a folder\n")


def test_list_says_what_can_be_listed() -> None:
    kinds = run_cli("list").out
    assert all(kind in kinds for kind in ("evictions ", "hardware ", "models ", "traces "))
    traces = run_cli("list", "traces").out
    assert "mini-gpt-oss" in traces
    assert "top-4; 20 requests with prompts of 64 tokens and 224 decoded; predictors " in traces


# Paths


@pytest.fixture
def study(folder: Path) -> Path:
    """A folder in the working directory with a config and all that it names."""
    made = folder / "study"
    made.mkdir()
    (folder / "small.parquet").rename(made / "small.parquet")
    write_config(
        made / "run.yaml", trace="small.parquet", hardware={"name": "box.yaml", "cpu": "cpu.yaml"},
        runtime="./ideal.yaml", cache={"capacity": "50%", "static": {"experts": "keep.csv"}},
    )  # fmt: skip
    profiles = Path(__file__).parents[1] / "hardware_profiles"
    for source, name in (
        ("l4", "box"), ("runtimes/ideal", "ideal"), ("parts/cpu/ddr4-dual", "cpu"),
    ):  # fmt: skip
        text = (profiles / f"{source}.yaml").read_text(encoding="utf-8")
        (made / f"{name}.yaml").write_text(text, encoding="utf-8")
    (made / "keep.csv").write_text("layer,expert\n0,1\n")
    return made


@pytest.mark.parametrize("at", [".", "study", "study/deeper"])
def test_paths_start_at_the_config(study: Path, at: str) -> None:
    (study / "deeper").mkdir()
    config = {".": "study/run.yaml", "study": "run.yaml", "study/deeper": "../run.yaml"}[at]
    end = here("run", config, "--json", cwd=study.parent / at)
    assert end.returncode == 0, end.stderr
    found = json.loads(end.stdout)
    assert (found["hardware"], found["cache"]["static"]["experts"]) == ("l4", 1)


def test_a_home_is_one_for_every_key(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(study))
    write_config(
        study / "run.yaml", trace="~/small.parquet", runtime="~/ideal.yaml",
        hardware={"name": "~/box.yaml", "cpu": "~/cpu.yaml"},
        cache={"capacity": "50%", "static": {"experts": "~/keep.csv"}},
    )  # fmt: skip
    end = run_cli("run", "study/run.yaml", "--json")
    assert (end.code, end.err) == (0, "")
    assert json.loads(end.out)["hardware"] == "l4"
    for given, said in (
        ("model=~/none.json", f"{study}/none.json: no such file"),
        ("hardware=~/none.yaml", f"{study}/none.yaml: no such file"),
        ("hardware=~no-such-user/none.yaml", "~no-such-user/none.yaml: no such file"),
    ):
        assert said in run_cli("run", "study/run.yaml", "--set", given).err


@pytest.mark.parametrize("axis", ["predictor.0.name", "predictor.0", "predictor", "predictor.name"])
def test_an_axis_of_one_of_several_predictors_starts_at_the_config(axis: str) -> None:
    tree = {"sweep": {axis: ["guess", "mypred.py"]}, "predictor": [{"name": "here.py", "seed": 1}]}
    assert seen_from_here(tree, Path("study")) == {
        "sweep": {axis: ["guess", "study/mypred.py"]},
        "predictor": [{"name": "study/here.py", "seed": 1}],
    }


def test_the_working_directory_is_not_looked_in(study: Path) -> None:
    (study / "small.parquet").rename(study.parent / "small.parquet")
    end = run_cli("run", "study/run.yaml")
    place = study / "small.parquet"
    assert f"trace: no file or sample 'study/small.parquet'; looked for {place}" in end.err
    assert end.code == 2
    given = run_cli("run", "study/run.yaml", "--set", "trace=small.parquet", "--json")
    assert given.code == 0  # what is typed starts where it is typed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("box.yaml", "hardware: study/box.yaml: no such file; looked for {}"),
        ("ideal.yaml", "runtime: study/ideal.yaml: no such file; looked for {}"),
        ("keep.csv", "study/keep.csv: cannot be read (No such file or directory); looked for {}"),
    ],
)
def test_a_missing_file_says_where_it_was_looked_for(study: Path, name: str, message: str) -> None:
    (study / name).unlink()
    assert message.format(study / name) in run_cli("run", "study/run.yaml").err


def test_a_name_is_no_file_that_is_called_so(study: Path) -> None:
    (study / "l4").mkdir()
    (study / "mini-gpt-oss").mkdir()
    tree = {"hardware": "l4", "trace": "mini-gpt-oss", "model": "Qwen/Qwen3-30B-A3B",
            "sweep": [{"trace": ["./mini-gpt-oss", "mini-gpt-oss", "~/x.parquet", "/x.parquet"],
                       "hardware.name": ["l4", "RTX 4090", "box.yaml"],
                       "cache.static": ["none", {"popular": "20%", "counts": "counts"}]}],
            "predictor": "small.parquet"}  # fmt: skip
    (study / "s.yaml").write_text(yaml.safe_dump(tree))
    block = {"trace": ["study/./mini-gpt-oss", "mini-gpt-oss", "~/x.parquet", "/x.parquet"],
             "hardware.name": ["l4", "RTX 4090", "study/box.yaml"],
             "cache.static": ["none", {"popular": "20%", "counts": "study/counts"}]}  # fmt: skip
    found = read_config(Path("study/s.yaml"))
    assert found == {**tree, "sweep": [block]}
    back = seen_from(Path("study"), found)
    assert back["sweep"][0]["hardware.name"] == tree["sweep"][0]["hardware.name"]  # type: ignore[index]


def test_a_sweep_can_be_run_again_from_what_it_left(study: Path) -> None:
    config = write_config(study / "s.yaml", trace="small.parquet", hardware="box.yaml",
                          sweep={"seed": [1, 2]})  # fmt: skip
    assert run_cli("sweep", config.relative_to(study.parent), "--out", "out", "--jobs", 1).code == 0
    kept = study.parent / "out/sweep.yaml"
    assert yaml.safe_load(kept.read_text())["trace"] == "../study/small.parquet"
    before = (study.parent / "out/results.csv").read_bytes()
    again = here("sweep", "../out/sweep.yaml", "--out", "../out", "--jobs", 1, cwd=study)
    assert again.returncode == 0, again.stderr
    assert (study.parent / "out/results.csv").read_bytes() != b""
    assert "2 points in ../out" in again.stderr
    assert before.count(b"\n") == 3


def test_a_file_is_the_same_however_it_is_spelled(study: Path) -> None:
    axes = {"hardware": ["study/box.yaml", "./study/../study/box.yaml", "L4", "l4"],
            "trace": ["study/small.parquet", str(study / "small.parquet")]}  # fmt: skip
    config = write_config(Path("s.yaml"), sweep=axes)
    end = run_cli("sweep", config, "--out", "out", "--jobs", 1)
    assert end.code == 0, end.err
    assert "1 point in out" in end.err


@pytest.mark.parametrize(("eviction", "says"), [("lru", False), ("s3-fifo", True)])
def test_routing_that_was_made_to_what_lru_hits_judges_no_other_eviction(
    eviction: str, says: bool
) -> None:
    made = {"synthetic": "gpt-oss-20b", "requests": 1, "prompt": 8, "decode": 8}
    made |= {"hit_rate": 0.5, "at": "50%"}
    found = inputs(trace=made, cache={"eviction": eviction}).notes
    assert [note for note in found if "made to what LRU hits" in note] == (
        [
            "trace.hit_rate: this routing is made to what LRU hits, so it says little of s3-fifo; "
            "a recording does"
        ]
        if says
        else []
    )
