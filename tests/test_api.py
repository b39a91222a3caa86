"""The Python API: what it gives is what the command line gives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_support import MODEL, environment, run_cli, small_trace, write_config

import prefetch_sim as ps
from prefetch_sim.experiments.conclusions.one_run import of_run
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.misses import cpu
from prefetch_sim.sim.prefetch import top_k
from prefetch_sim.traces.format import read_trace


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_trace(tmp_path / "small.parquet")
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path / "run.yaml", trace="small.parquet")


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_it_imports_nothing(tmp_path: Path) -> None:
    heavy = "numpy", "pandas", "matplotlib", "pydantic", "yaml", "simpy", "numba", "typer", "rich"
    code = f"""
import sys, prefetch_sim
assert set({heavy}) & set(sys.modules) == set(), sys.modules
assert set(prefetch_sim.__all__) <= set(dir(prefetch_sim))
assert issubclass(prefetch_sim.ConfigError, ValueError)
try:
    prefetch_sim.nothing
except AttributeError as error:
    print(error)
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no attribute 'nothing'" in done.stdout
    for name in ps.__all__:
        assert callable(getattr(ps, name)), name


def test_a_run_is_the_commands(config: Path) -> None:
    sets = ["--set", "cache.capacity=25%", "--set", "predictor=guess"]
    said = json.loads(run_cli("run", config, *sets, "--json").out)
    conclusion = said.pop("conclusion")
    done = ps.run(config, {"cache.capacity": "25%"}, predictor="guess")
    assert done.results == said
    assert of_run(said) == conclusion
    assert done.said == run_cli("run", config, *sets).out.splitlines()[-len(done.said) :]
    assert done.tpot_ms == said["tpot_ms"]["mean"]
    assert done.hit_rate == said["hit_rate"]["all"]
    assert done.config.predictor[0].name == "guess"
    assert repr(done).startswith("<Run run: tiny on a100-pcie-40gb, ")
    assert "\n" not in repr(done)
    assert "tokens/s" in done._repr_html_()


def test_a_config_is_a_file_a_mapping_or_checked(config: Path) -> None:
    tree = {"trace": "small.parquet", "hardware": "a100-pcie-40gb", "cache": {"capacity": "50%"}}
    runs = [ps.run(config), ps.run(str(config)), ps.run(tree), ps.run(RunConfig(**tree))]
    for one in runs:
        assert one.results | {"config": 0} == runs[0].results | {"config": 0}
    again = ps.run(runs[0].config)
    assert again.results == runs[0].results


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ps.run("run.yaml", hardware="rtx-409"), "did you mean 'rtx-4090'"),
        (lambda: ps.run("run.yaml", {"cache.size": "10%"}), "cache.size"),
        (lambda: ps.run("none.yaml"), "none.yaml: no such file"),
        (lambda: ps.run(7), "a config is a file"),  # type: ignore[arg-type]
        (lambda: ps.run("run.yaml", ["cache.capacity=1%"]), "overrides are a mapping"),  # type: ignore[arg-type]
        (lambda: ps.run("run.yaml", sweep={"seed": [1]}), "use prefetch_sim.sweep"),
        (lambda: ps.sweep("run.yaml"), "sweep: missing"),
        (lambda: ps.sweep("run.yaml", sweep={"seed": 1}), "needs a list of values"),
        (lambda: ps.run("run.yaml", trace=pd.DataFrame()), "load_trace(frame, model=...)"),
        (lambda: ps.run("run.yaml", {"cache.eviction": len}), "cache.eviction: "),
        (lambda: ps.run("run.yaml", {"cache.eviction": lambda x: x}), "give a class"),
        (lambda: ps.run("run.yaml", predictor=int), "inherits no Predictor"),
        (lambda: ps.load_trace(pd.DataFrame()), "give model="),
        (lambda: ps.load_trace("mini-gpt-os"), "did you mean 'mini-gpt-oss'"),
    ],
)
def test_what_cannot_be_is_one_line(config: Path, call: Any, message: str) -> None:
    with pytest.raises(ps.ConfigError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_errors_are_the_commands(config: Path) -> None:
    config.write_text(config.read_text().replace("a100-pcie-40gb", "a100"))
    with pytest.raises(ps.ConfigError) as caught:
        ps.run(config.name)
    assert run_cli("run", config.name).err == f"error: {caught.value}\n"


AXES = {"cache.capacity": ("25%", "50%"), "seed": np.arange(2)}


def test_a_sweep_is_a_frame_of_what_the_command_writes(config: Path, tmp_path: Path) -> None:
    swept = ps.sweep(config, sweep=AXES, jobs=1)
    assert len(swept) == 4
    assert swept.axes == ("cache.capacity", "seed")
    assert swept.frame["axis.seed"].tolist() == ["0", "1"] * 2
    text = 'sweep.cache.capacity=["25%", "50%"]', "sweep.seed=[0, 1]"
    sets = [word for one in text for word in ("--set", one)]
    assert run_cli("sweep", config, *sets, "--out", tmp_path / "out", "--jobs", 1).code == 0
    pd.testing.assert_frame_equal(swept.frame, pd.read_parquet(tmp_path / "out/results.parquet"))
    assert repr(swept).startswith("<Sweep 4 points over cache.capacity (2), seed (2): best ")
    assert "ms per output token" in swept._repr_html_()
    assert swept.folder is None


def test_a_sweep_with_a_folder_runs_nothing_twice(config: Path, tmp_path: Path) -> None:
    for _ in range(2):
        swept = ps.sweep(config, {"sweep.seed": [0, 1]}, out=tmp_path / "kept", jobs=1)
    text = run_cli("sweep", config, "--set", "sweep.seed=[0, 1]", "--out", tmp_path / "kept")
    assert text.code == 0
    assert len(swept) == 2


def test_a_script_needs_no_guard_for_processes(config: Path) -> None:
    code = """
import prefetch_sim
print("begun")
swept = prefetch_sim.sweep("run.yaml", sweep={"seed": [0, 1]}, jobs=2)
print(len(swept), swept.frame["error"].isna().all())
"""
    script = config.parent / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script],
        cwd=config.parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begun\n2 True\n"


def same_again(routed: Any, layer: int) -> Any:
    """What the layer routed for the last token."""
    return routed[-2, layer] if len(routed) > 1 else None


class Coldest:
    """The expert used least often leaves first."""

    def __init__(self, experts: int, seed: int) -> None:
        self.uses = [0] * experts
        self.seed = seed

    def begin(self, rooms: list[int]) -> None:
        assert all(rooms)

    def inserted(self, x: int, now: int) -> int:
        return self.uses[x]

    def used(self, x: int, now: int, score: int) -> int:
        self.uses[x] += 1
        return self.uses[x]


def test_a_function_predicts_from_what_is_routed_so_far(config: Path) -> None:
    seen = []

    def watching(routed: Any, layer: int) -> Any:
        """It names what it is shown."""
        seen.append((len(routed), layer, (routed[-1, :, 0] >= 0).sum()))
        with pytest.raises(ValueError, match="read-only"):
            routed[0] = 0
        return same_again(routed, layer), [0.9, 0.8]

    done = ps.run(config, predictor=watching, requests="0:1")
    assert done.results["engine"] == "simpy"
    # A prompt of 4 tokens: the first decode token is the fifth; layers 1 to 3 are spoken of.
    assert seen[:4] == [(5, 1, 0), (5, 2, 1), (5, 3, 2), (6, 1, 0)]
    (name,) = done.results["predictors"]
    assert name.endswith(".watching")
    like = ps.run(config, predictor="previous-token", requests="0:1").results
    for key in ("tpot_ms", "prefetch", "hit_rate"):
        assert done.results[key] == like[key]
    assert done.results["predictors"][name] != {}


def test_a_predictor_has_its_distance(config: Path) -> None:
    far, near = (
        ps.run(config, predictor={"name": same_again, "distance": d}).results for d in (2, 0)
    )
    assert far["predictors"] != near["predictors"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([9], "gave expert 9, and there are 8, 0 to 7, of layer 1"),
        (([1], [1, 0]), "2 scores for 1 experts"),
        ([1.7], "gave [1.7], which is no list of whole numbers"),
        ([True], "gave [True], which"),
        ([0, True], "gave [0, True], which"),
        ([[1], [2]], "gave a list of 2, which is no list of whole numbers"),
        ([[1], [2, 3]], "gave a list of 2, which"),
        ([3, 3], "gave one expert twice, [3, 3], of layer 1"),
        ("abc", "gave 'abc', which"),
        (float("nan"), "gave nan, which"),
        ({1}, "gave {1}, which"),
        ({1: 0.5}, "gave a mapping of 1, which"),
        ((1, 2), "gave (1, 2), which is neither a list nor (experts, scores), of layer 1"),
        (([1], [1], [1]), "neither a list nor"),
        (([1], [float("nan")]), "gave the score nan of layer 1"),
        (([1], ["high"]), "gave the scores ['high'], which are no list of numbers"),
    ],
)
def test_what_a_function_says_wrong_is_told(config: Path, said: Any, message: str) -> None:
    def wrong(routed: Any, layer: int) -> Any:
        return said

    with pytest.raises(ps.ConfigError) as caught:
        ps.run(config, predictor=wrong, requests="0:1")
    assert message in str(caught.value)
    assert re.match(r"policy '.*\.wrong(_\d+)?': it gave ", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", [[], [-1, 3], 3, np.int16(3), np.array([3]), ((3,), [0.5])])
def test_what_a_function_may_say(config: Path, said: Any) -> None:
    done = ps.run(config, predictor=lambda routed, layer: said, requests="0:1")
    assert done.tpot_ms is not None


def test_what_a_function_reads_from_outside_counts_in_each_run(config: Path) -> None:
    many = 1

    def first(routed: Any, layer: int) -> Any:
        return list(range(many))

    def proposed() -> int:
        return int(ps.run(config, predictor=first, requests="0:1").results["prefetch"]["proposed"])

    one = proposed()
    many = 2
    assert proposed() == 2 * one > 0


class Twice:
    """What the token before was routed to, from a method or a call."""

    def guess(self, routed: Any, layer: int) -> Any:
        return same_again(routed, layer)

    __call__ = guess


def test_whatever_can_be_called_predicts(config: Path) -> None:
    def last(shift: int, routed: Any, layer: int) -> Any:
        return same_again(routed, layer)

    like = ps.run(config, predictor=same_again, requests="0:1").results
    thing = Twice()
    for given in (thing.guess, thing, partial(last, 0)):
        runs = [ps.run(config, predictor=given, requests="0:1").results for _ in range(2)]
        assert runs[0]["tpot_ms"] == like["tpot_ms"]
        assert runs[0]["predictors"] == runs[1]["predictors"]


def test_one_function_in_two_places_is_two_policies(config: Path) -> None:
    ps.run(config, predictor=same_again)
    checked = ps.check(same_again, kind="prefetch")
    assert checked.kind == "prefetch"
    assert not checked.held


def test_a_class_is_an_eviction_and_its_object_what_it_remembers(config: Path) -> None:
    tight = {"cache.capacity": "25%"}
    own = ps.run(config, {**tight, "cache.eviction": Coldest})
    assert ps.run(config, {**tight, "cache.eviction": Coldest}).results == own.results
    like = ps.run(config, {**tight, "cache.eviction": "lfu-persistent"}).results
    assert own.results["hit_rate"]["all"] == pytest.approx(like["hit_rate"]["all"], abs=0.1)
    assert own.config.cache.eviction.name.endswith(".Coldest")


def test_functions_and_modules_of_the_other_contracts(config: Path) -> None:
    changed = {"prefetch.policy": top_k.propose, "misses": {"policy": cpu, "then": "load"}}
    parts = {"predictor": "guess", "hardware.cpu": "ryzen-9900x"}
    done = ps.run(config, {**changed, **parts}).results
    named = {"prefetch.policy": "top-k", "misses": {"policy": "cpu", "then": "load"}}
    like = ps.run(config, {**named, **parts, "engine": "simpy"}).results
    for result in (done, like):
        del result["config"]
    assert done == like


def test_an_error_in_a_policy_says_where(config: Path) -> None:
    def broken(routed: Any, layer: int) -> Any:
        return routed.nothing

    with pytest.raises(ps.ConfigError, match="AttributeError") as caught:
        ps.run(config, predictor=broken)
    assert os.path.basename(__file__) in str(caught.value)


def test_an_exception_that_python_sets_apart_is_the_policy_s_too(config: Path) -> None:
    def stops(routed: Any, layer: int) -> Any:
        raise GeneratorExit("enough")

    with pytest.raises(ps.ConfigError, match="GeneratorExit: enough"):
        ps.run(config, predictor=stops)
    with pytest.warns(UserWarning, match="1 of 2 points failed"):
        swept = ps.sweep(config, sweep={"predictor": ["none", stops]})
    assert swept.frame["error"].notna().tolist() == [False, True]


def test_ctrl_c_in_a_policy_ends_the_run(config: Path) -> None:
    def interrupted(routed: Any, layer: int) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ps.run(config, predictor=interrupted)


def test_a_sweep_over_objects_is_kept_by_no_folder(config: Path, tmp_path: Path) -> None:
    def other(routed: Any, layer: int) -> list[int]:
        return [0]

    axes = {"predictor": [same_again, other, "none", [same_again, "guess"]]}
    swept = ps.sweep(config, sweep=axes)
    assert swept.frame["error"].isna().all()
    assert len(swept) == 4
    assert swept.frame["tpot_ms.mean"].nunique() >= 3
    with pytest.raises(ps.ConfigError, match="cannot be told"):
        ps.sweep(config, sweep=axes, out=tmp_path / "out")
    with pytest.raises(ps.ConfigError, match="jobs=1"):
        ps.sweep(config, sweep=axes, jobs=2)
    with pytest.raises(ps.ConfigError, match="compiled has no form"):
        ps.run(config, {"cache.eviction": Coldest}, engine="compiled")


def test_two_functions_of_one_name_are_two(config: Path) -> None:
    def make(expert: int) -> Any:
        def named(routed: Any, layer: int) -> list[int]:
            return [expert]

        return named

    one, two = make(1), make(2)
    runs = [ps.run(config, predictor=f).results["predictors"] for f in (one, two, one)]
    names = [next(iter(run)) for run in runs]
    assert names[0] == names[2] != names[1]
    assert runs[0] == runs[2]


def test_a_trace_in_memory(config: Path) -> None:
    trace = ps.load_trace("small.parquet")
    assert isinstance(trace, ps.Trace)
    done = ps.run(config, trace=trace).results
    like = ps.run(config).results
    for result in (done, like):
        del result["config"]
    assert done == like
    made = ps.Trace.from_arrays(MODEL, trace.experts[:6], prompt=2)
    assert ps.run(config, trace=made).results["by_request"]["output_tokens"] == [4]
    swept = ps.sweep(config, trace=made, sweep={"seed": [0]}, jobs=1)
    assert swept.frame["error"].isna().all()


def test_predictions_in_memory(config: Path) -> None:
    trace = ps.load_trace("small.parquet")
    guess = trace.predictions["guess"]
    ids = [name for name, a, b in trace.requests for _ in range(b - a)]
    said = {"mine": (guess.experts.tolist(), guess.scores.tolist(), "gate_input", 1)}
    made = ps.Trace.from_arrays(MODEL, trace.experts, requests=ids, prompt=4, predictions=said)
    assert repr(made).endswith("predictions: mine)")
    kept = ps.Trace.from_arrays(
        MODEL, trace.experts, requests=ids, prompt=4, predictions={"mine": guess}
    )
    runs = [ps.run(config, trace=t, predictor="mine").results for t in (made, kept)]
    assert runs[0]["predictors"]["mine"]["slot_recall"] == 1
    assert runs[0]["predictors"] == runs[1]["predictors"]
    for wrong, message in (
        ((guess.experts, guess.scores), "expected (experts, scores, trigger, distance)"),
        ((guess.experts, guess.scores, "gate", 1), "prediction 'mine': trigger: "),
        ((guess.experts, guess.scores[:, :2], "gate_input", 1), "has experts (36, 4, 2) and"),
        ((guess.experts, guess.scores * 4, "gate_input", 1), "score 2 is not from 0 to 1"),
        ((guess.experts, guess.scores * [0.5, 1], "gate_input", 1), "scores rise"),
        ((guess.experts + 90, guess.scores, "gate_input", 1), "row 0, layer 0: prediction 'mine'"),
    ):
        with pytest.raises(ps.TraceError) as told:
            ps.Trace.from_arrays(MODEL, trace.experts, predictions={"mine": wrong})  # type: ignore
        assert message in str(told.value)


def test_a_dataframe_is_a_trace(config: Path) -> None:
    trace = read_trace("small.parquet")
    with pytest.warns(UserWarning, match="predictions left out, as a DataFrame .*: guess; Trace"):
        again = ps.load_trace(pd.read_parquet("small.parquet"), model=MODEL)
    assert (again.experts == trace.experts).all()
    rows = [
        (int(trace.request_id[t]), int(trace.position[t]), layer, list(trace.experts[t, layer]))
        for t in range(trace.tokens)
        for layer in range(4)
    ]
    frame = pd.DataFrame(rows, columns=["request", "position", "layer", "experts"])
    assert (ps.load_trace(frame, model=MODEL).experts == trace.experts).all()
    with pytest.raises(ps.TraceError, match=r"^DataFrame: line 2"):
        ps.load_trace(frame.assign(layer=7), model=MODEL)


def test_compare_pairs_requests(config: Path) -> None:
    slow = ps.run(config, {"cache.capacity": "25%"})
    found = ps.compare(slow, config)
    assert found.paired.requests == 3
    assert not found.paired.enough
    assert "Too few requests" in repr(found)
    assert "cache.capacity" in found._repr_html_()
    assert found.said
    with pytest.raises(ps.ConfigError, match="same requests"):
        ps.compare(slow, ps.run(config, requests="0:2"))


def test_advise_is_the_commands() -> None:
    asked = {"gpu": "rtx-3060-12gb", "ram": "64GB", "quant": "Q4_K_M", "runtime": "llama.cpp"}
    found = ps.advise("qwen3-30b-a3b", cpu="ryzen-9900x", drive="3.5", **asked)  # type: ignore[arg-type]
    assert found.speed is not None
    assert found.speed.low < found.speed.tokens_s < found.speed.high
    assert "qwen3-30b-a3b" in repr(found)
    assert "<table>" in found._repr_html_()
    assert dict(found.said)["speed"]


ASKED = {"gpu": "rtx-4090", "cpu": "ryzen-9900x", "ram": "32GB"}


def test_advise_reads_numbers_as_their_text() -> None:
    asked: dict[str, Any] = {
        **ASKED,
        "model": "qwen3-30b-a3b",
        "quant": "Q4_K_M",
        "runtime": "llama.cpp",
    }
    written = ps.advise(**asked, drive="5.5", link="25", target="20")
    given = asked | {"ram": 32, "drive": 5.5, "link": 25, "target": np.int64(20)}
    assert ps.advise(**given).said == written.said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gpu": "rtx-409"}, "did you mean 'rtx-4090'"),
        ({"ram": 32 * 2**30}, "more than any memory holds: write 32GB"),
        ({"ram": True}, "ram: 'True' is no size"),
        ({"link": float("inf")}, "link: 'inf' is no rate"),
        ({"link": 1e300}, "link: '1e+300' is no rate"),
        ({"drive": 0}, "storage.gb_s: value must be positive"),
        ({"runtime": ""}, "runtime: '' is no name"),
        ({"gpu": " "}, "gpu: ' ' is no name"),
        ({"model": "/"}, "unknown model '/'"),
    ],
)
def test_what_advise_is_not_asked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ps.ConfigError) as caught:
        ps.advise(**{"model": "qwen3-30b-a3b", **ASKED, **given})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sweep_whose_points_all_failed_has_a_repr(config: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 1 point failed"):
        swept = ps.sweep(config, sweep={"predictor": [lambda routed, layer: [9]]})
    assert repr(swept) == "<Sweep 1 point over nothing: all failed>"
    assert "<table>" in swept._repr_html_()
    swept = ps.sweep(config, sweep={"seed": [0, 1]}, tokens="0:4", jobs=1)  # the prompts
    assert repr(swept) == "<Sweep 2 points over seed (2): no output tokens>"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jobs": "2"}, "jobs: give 1 process or more, not '2'"),
        ({"jobs": 1.5}, "jobs: give 1 process or more, not 1.5"),
        ({"jobs": 0}, "jobs: give 1 process or more, not 0"),
        ({"out": 3}, "out: give a path, not 3"),
        ({"out": ""}, "out: give a path, not ''"),
        ({"out": "run.yaml/x"}, "out run.yaml/x: Not a directory"),
    ],
)
def test_a_sweep_takes_no_other_types(config: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ps.ConfigError) as caught:
        ps.sweep(config, sweep={"seed": [0]}, **given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("results", "given", "message"),
    [
        (None, {}, "results: give a sweep, its folder, a file of its results or a DataFrame"),
        ([1], {}, "DataFrame, not [1]"),
        ("x", {"x": 3}, "x: give a text, not 3"),
        ("x", {"by": 3}, "by: give the name of an axis, or a list of them, not 3"),
        ("x", {"by": [3]}, "by: give"),
        ("x", {"where": 3}, "where: give a mapping of axes to values"),
        ("x", {"where": {3: 1}}, "where: give"),
        ("x", {"kind": 3}, "kind: give a text"),
        ("x", {"size": None}, "size: give a text"),
        ("x", {"out": 3}, "out: give a path"),
        ("x", {"out": "none/x.png"}, "out: none is no folder"),
    ],
)
def test_a_plot_takes_no_other_types(
    config: Path, results: Any, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ps.ConfigError) as caught:
        ps.plot(results, **given)
    assert message in str(caught.value)


FILE = '''
"""The same experts of every layer."""

from prefetch_sim.sim.predictors.base import Online, Prediction, PredictorParams


class Params(PredictorParams):
    first: int = 0


class Predictor(Online):
    distance = 1

    def __init__(self, params: Params, context: object) -> None:
        super().__init__(context)
        self.first = params.first

    def predict(self, step, target):
        base = 8 * target
        named = [base + self.first, base + NEXT]
        return Prediction(named * len(step.rows), [1.0, 0.5] * len(step.rows))

    def observe(self, step, layer):
        pass
'''


def test_a_policy_is_a_file_and_an_edited_one_another(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"

    def write(following: int) -> None:
        path.write_text(FILE.replace("NEXT", str(following)))
        os.utime(path, ns=(following, following))

    def sweep() -> Any:
        axes = {"predictor": [{"name": "mine.py"}, {"name": "mine.py", "first": 3}]}
        swept = ps.sweep(config, sweep=axes, out=tmp_path / "out", jobs=1)
        assert swept.frame["error"].isna().all()
        return swept.frame

    write(1)
    first = sweep()
    assert first["tpot_ms.mean"].nunique() == 2
    by_import = ps.run(config, predictor={"name": "./mine.py"}).results
    assert by_import["tpot_ms"]["mean"] == first["tpot_ms.mean"][0]
    write(2)
    assert sweep()["tpot_ms.mean"][0] != first["tpot_ms.mean"][0]
    write(1)
    assert sweep()["tpot_ms.mean"].tolist() == first["tpot_ms.mean"].tolist()
    done = run_cli("run", config, "--set", "predictor=mine.py", "--json")
    assert json.loads(done.out)["tpot_ms"]["mean"] == first["tpot_ms.mean"][0]
    done = run_cli("run", config, "--set", "predictor=none.py")
    assert done.code == 2
    assert "predictor policy 'none.py': no such file" in done.err
