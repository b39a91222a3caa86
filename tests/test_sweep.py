"""Sweeps: which points there are, that each runs once however often the sweep is killed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import rich.console
import yaml
from cli_support import BASE, ROOT, call, command, environment, here, small_trace, write_config

from prefetch_sim.experiments.sweeps import export, points, pools
from prefetch_sim.experiments.sweeps.progress import Pace
from prefetch_sim.experiments.sweeps.runner import Sweep
from prefetch_sim.experiments.sweeps.store import Outcome, Store
from prefetch_sim.experiments.sweeps.worker import execute
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.setup import engine_choice
from prefetch_sim.traces.samples import samples

# An eviction from outside the package that counts the runs it is used in, each of which waits.
COUNTING = """
import os, time
from prefetch_sim.sim.eviction import base
from prefetch_sim.sim.eviction.lru import *

def new_state(*arguments):
    with open(os.environ["COUNT"], "a") as log:
        log.write("run\\n")
    time.sleep(float(os.environ.get("WAIT", "0")))
    return base.new_state(*arguments)
"""
# Read by Python before anything else: a worker that says when it starts, and takes its time.
SLOW_START = """
import os, sys, time
if "--multiprocessing-fork" in sys.orig_argv:
    time.sleep(0.5)
    open(os.environ["COUNT"] + ".starting", "a").close()
    time.sleep(0.5)
"""
SWALLOWING = """
import os, sys, time

class Swallowing:
    def find_spec(self, name, path=None, target=None):
        if name == "prefetch_sim.sim.setup.inputs":
            open(os.environ["COUNT"] + ".importing", "a").close()
            try:
                time.sleep(2)
            except KeyboardInterrupt:
                pass

sys.meta_path.insert(0, Swallowing())
"""
FAILING = """
from prefetch_sim.sim.eviction import base
from prefetch_sim.sim.eviction.lru import *

def new_state(experts, layers, seed, future):
    if seed == 2:
        raise RuntimeError("seed two does not work")
    return base.new_state(experts, layers, seed, future)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_trace(tmp_path / "small.parquet")
    return tmp_path


def plan(folder: Path, sweep: Any, **keys: Any) -> list[points.Point]:
    tree = BASE | {"trace": str(folder / "small.parquet")} | keys | {"sweep": sweep}
    return points.plan(tree, "s.yaml")


def sweep_config(folder: Path, sweep: Any, **keys: Any) -> Path:
    return write_config(folder / "s.yaml", trace="small.parquet", **keys, sweep=sweep)


def stored(folder: Path) -> dict[str, tuple[Any, ...]]:
    database = sqlite3.connect(folder / "results.sqlite")
    try:
        rows = database.execute("SELECT key, result, error, finished FROM runs").fetchall()
    finally:
        database.close()
    return {key: rest for key, *rest in rows}  # type: ignore[misc]


# Points


def test_a_sweep_is_the_plain_product_with_the_last_axis_fastest(folder: Path) -> None:
    found = plan(folder, {"cache.eviction": ["lru", "fifo"], "seed": [1, 2, 3]})
    assert [(p.config.cache.eviction.name, p.config.seed) for p in found] == [
        (e, s) for e in ("lru", "fifo") for s in (1, 2, 3)
    ]
    assert found[0].config.name == "lru, 1"
    assert found[0].axes == {"cache.eviction": "lru", "seed": "1"}


def test_a_list_of_sweeps_is_their_union_without_repeats(folder: Path) -> None:
    found = plan(folder, [{"seed": [1, 2]}, {"seed": [2], "predictor": ["none", "guess"]}])
    assert [(p.config.seed, p.axes["predictor"]) for p in found] == [
        (1, "none"), (2, "none"), (2, "guess")
    ]  # fmt: skip


def test_a_default_written_out_is_no_other_point(folder: Path) -> None:
    same = ["oracle", {"name": "oracle", "recall": 1.0}, [{"name": "oracle", "distance": 0}]]
    assert [p.axes for p in plan(folder, {"predictor": same})] == [{"predictor": "oracle"}]


def test_a_value_may_be_a_mapping_or_a_list(folder: Path) -> None:
    hybrid = [{"name": "oracle", "recall": 0.5}, {"name": "guess"}]
    found = plan(folder, {"predictor": [hybrid, "none", {"name": "oracle", "recall": 0.9}]})
    assert [p.axes["predictor"] for p in found] == [
        "oracle recall=0.5 + guess", "none", "oracle recall=0.9"
    ]  # fmt: skip
    assert [len(p.config.predictor) for p in found] == [2, 0, 1]


def test_a_path_below_another_axis_counts_whatever_their_order(folder: Path) -> None:
    sweep = {"hardware.host_link.gb_s": [1.0, 2.0], "hardware": ["a100-pcie-40gb"]}
    assert len({p.key for p in plan(folder, sweep)}) == 2


@pytest.mark.parametrize(
    ("sweep", "names"),
    [
        (
            {"hardware": ["a100-pcie-40gb", "h100-sxm"], "hardware.host_link.gb_s": [1.0]},
            ["a100-pcie-40gb, 1.0", "h100-sxm, 1.0"],
        ),
        (
            {"predictor": ["oracle"], "predictor.recall": [0.5, 1.0]},
            ["oracle, 0.5", "oracle, 1.0"],
        ),
        (
            [{"hardware": ["a100-pcie-40gb"]}, {"hardware.host_link.gb_s": [1.0]}],
            ["a100-pcie-40gb, none", "a100-pcie-40gb, 1.0"],
        ),
        (
            {"hardware": [{"name": "a100-pcie-40gb", "host_link": {"gb_s": 1.0}}]},
            ["a100-pcie-40gb host_link.gb_s=1.0"],
        ),
    ],
)
def test_a_label_is_what_was_swept(folder: Path, sweep: Any, names: list[str]) -> None:
    assert [p.config.name for p in plan(folder, sweep)] == names


def test_an_override_of_what_is_swept_is_refused(folder: Path) -> None:
    both = [
        {"cache.eviction": ["lru"], "hardware": ["a100-pcie-40gb"]},
        {"cache.eviction": ["fifo"], "seed": [1]},
    ]
    config = sweep_config(folder, both)
    for target in ("cache.eviction", "cache.eviction.name"):
        with pytest.raises(ConfigError, match=f"--set {target}: every point of the sweep sets it"):
            points.read(config, [(target, "lru")])
    for target in ("hardware", "seed", "cache"):  # of some points, or beside what is swept
        points.read(config, [(target, {})])


def test_an_axis_is_replaced_or_added_by_its_dotted_path(folder: Path) -> None:
    one = sweep_config(folder, {"cache.eviction": ["lru"]})
    for target, axes in (
        ("cache.eviction", {"cache.eviction": ["fifo"]}),
        ("runtime", {"cache.eviction": ["lru"], "runtime": ["fifo"]}),
    ):
        assert points.read(one, [(f"sweep.{target}", ["fifo"])])["sweep"] == axes
    with pytest.raises(ConfigError, match=r"sweep.cache.eviction: needs a list of values"):
        points.read(one, [("sweep.cache.eviction", "fifo")])
    two = sweep_config(folder, [{"seed": [1]}, {"seed": [2]}])
    swept = points.read(two, [("sweep.1.cache.eviction", ["fifo"])])["sweep"]
    assert swept == [{"seed": [1]}, {"seed": [2], "cache.eviction": ["fifo"]}]
    for target in ("sweep.cache.eviction", "sweep.2.seed"):
        with pytest.raises(ConfigError, match=f"{target}: the sweep has 2 blocks; say which"):
            points.read(two, [(target, ["fifo"])])


def test_a_key_depends_on_what_the_results_depend_on(folder: Path) -> None:
    base = plan(folder, {"seed": [1]})[0].key
    assert plan(folder, {"seed": [1]}, name="another name")[0].key == base
    os.utime(folder / "small.parquet")
    assert plan(folder, {"seed": [1]})[0].key == base
    assert plan(folder, {"seed": [1]}, predictor="none")[0].key == base
    assert (
        plan(folder, {"seed": [1]}, runtime={"name": "ideal", "overlap": "grouped"})[0].key != base
    )
    small_trace(folder / "small.parquet", decode=9)
    assert plan(folder, {"seed": [1]})[0].key != base


# A policy in a package of its own, and what it imports; ``swept`` has no __init__.py.
POLICY_FILES = {
    "swept/own/__init__.py": "from swept.own import first",
    "swept/own/policy.py": """
import numpy, yaml.nodes, os.path
import swept_alone
from prefetch_sim.sim.eviction.lru import *
from . import relative
from .. import above

def begin(state, rooms):
    from swept.own.late import something
    from .... import too_far
    import not_there.at_all, __main__
    return state
""",
    "swept/own/first.py": "",
    "swept/own/relative.py": "from .deep.deeper import number as n",
    "swept/own/deep/__init__.py": "",
    "swept/own/deep/deeper.py": "number = 1",
    "swept/own/late.py": "import swept_broken",
    "swept/above.py": "",
    "swept_alone.py": "import swept.own.policy",
    "swept_broken.py": "this is no Python",
}
UNRELATED_FILES = {
    "swept/other.py": "from swept.own import policy",
    "swept/own/unused.py": "",
    "swept/own/deep/unused.py": "",
    "swept_unused.py": "",
}


@pytest.fixture
def own_policy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in {**POLICY_FILES, **UNRELATED_FILES}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [n for n in sys.modules if n.startswith("swept")]:
        del sys.modules[name]


def test_a_key_depends_on_all_that_a_policy_imports(own_policy: Path) -> None:
    def key() -> str:
        cache = {"capacity": "50%", "eviction": "swept.own.policy"}
        return plan(own_policy, {"seed": [1]}, cache=cache)[0].key

    before = key()
    for name in UNRELATED_FILES:
        (own_policy / name).write_text("changed = True")
    assert key() == before
    for name, text in POLICY_FILES.items():
        (own_policy / name).write_text(f"{text}\nchanged = True\n")
        after = key()
        assert after != before, name
        before = after
    assert "swept.own.late" not in sys.modules  # planning imports nothing more


def test_an_own_policys_file_is_the_same_from_everywhere(
    own_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known by content, however it is named; other content is another run."""
    for name, more in (("mine", ""), ("other", "changed = True")):
        text = f"from prefetch_sim.sim.eviction.lru import *\n{more}\n"
        (own_policy / "swept" / f"swept_{name}.py").write_text(text)

    def key(at: str, name: str) -> str:
        monkeypatch.chdir(own_policy / at)
        return plan(own_policy, {"seed": [1]}, cache={"eviction": name})[0].key

    same = {
        key(".", "swept/swept_mine.py"),
        key("swept", "swept_mine.py"),
        key("swept", str(own_policy / "swept" / "swept_mine.py")),
    }
    assert len(same) == 1
    assert key(".", "swept/swept_other.py") not in same
    assert key(".", "lru") not in same


def test_editing_what_a_policy_imports_runs_its_points_again(folder: Path) -> None:
    config, extra = counted(folder, 2)
    (folder / "counting" / "helper.py").write_text("")
    policy = folder / "counting" / "policy.py"
    policy.write_text(f"{COUNTING}\nfrom counting import helper\n")
    executed = []
    for text in ("", "changed = True", "changed = True"):
        (folder / "counting" / "helper.py").write_text(text)
        done = call("sweep", config, "--out", "out", cwd=folder, **extra | {"WAIT": "0"})
        assert done.returncode == 0, done.stderr
        executed.append(runs(folder / "count"))
    assert executed == [2, 4, 4]


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        (None, "sweep: missing"),
        ([], "no axes"),
        ({"seed": 3}, "sweep.seed: needs a list"),
        ({"seed": []}, "sweep.seed: needs a list"),
        ({"cache.capasity": ["10%"]}, "did you mean 'capacity'"),
        ({"seed": [1], "hardware": ["a100-pcie-40gb", "rtx-409"]}, "[seed=1, hardware=rtx-409]"),
        ({"cache.capacity": ["50%", {"experts": 1}]}, "[cache.capacity=experts=1]"),
        ("seed", "is not a mapping"),
        ({"name": ["a", "b"]}, "sweep.name: is no axis"),
    ],
)
def test_a_wrong_sweep_names_the_point(folder: Path, sweep: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan(folder, sweep)
    assert str(refused.value).startswith("s.yaml")
    assert expected in str(refused.value)


def test_a_point_that_its_engine_cannot_run_is_refused(folder: Path) -> None:
    (folder / "foreign").mkdir()
    (folder / "foreign" / "policy.py").write_text("from prefetch_sim.sim.eviction.lru import *")
    evictions = {"cache.eviction": ["lru", "foreign.policy"]}
    config = sweep_config(folder, evictions, engine="compiled")
    refused = call("sweep", config, "--out", "out", cwd=folder)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        f"error: {config} [cache.eviction=foreign.policy]: engine: compiled has no form of the "
        "eviction 'foreign.policy': use engine: simpy"
    ]
    assert not (folder / "out").exists()


def planned_engines(folder: Path, sweep: Any, **keys: Any) -> list[str]:
    return [point.engine for point in plan(folder, sweep, **keys)]


def test_auto_judges_the_points_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has 3 requests of 4 + 8 tokens in 4 layers: 144 layer-steps."""
    three = {"cache.capacity": ["30%", "50%", "70%"]}
    monkeypatch.setattr(engine_choice, "WORTH_COMPILING", 3 * 144 + 1)
    assert planned_engines(folder, three) == ["simpy"] * 3
    monkeypatch.setattr(engine_choice, "WORTH_COMPILING", 3 * 144)
    assert planned_engines(folder, three) == ["compiled"] * 3
    # Points that are one run count once.
    assert planned_engines(folder, {"cache.capacity": ["30%", "30%", "50%"]}) == ["simpy"] * 2
    assert planned_engines(folder, three, engine="simpy") == ["simpy"] * 3


def test_points_that_cannot_be_compiled_add_nothing_and_stay_simpys(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    (folder / "own_for_auto").mkdir()
    (folder / "own_for_auto" / "eviction.py").write_text(
        "from prefetch_sim.sim.eviction.lru import *"
    )
    evictions = {"cache.eviction": ["lru", "own_for_auto.eviction", "fifo"]}
    monkeypatch.setattr(engine_choice, "WORTH_COMPILING", 2 * 144 + 1)
    assert planned_engines(folder, evictions) == ["simpy"] * 3
    monkeypatch.setattr(engine_choice, "WORTH_COMPILING", 2 * 144)
    assert planned_engines(folder, evictions) == ["compiled", "simpy", "compiled"]
    # What is asked for by name compiles anyway, and counts.
    both = [{"engine": ["compiled"], "seed": [1]}, {"engine": ["auto"], "seed": [2]}]
    assert planned_engines(folder, both) == ["compiled"] * 2
    assert planned_engines(folder, both[1:]) == ["simpy"]
    monkeypatch.setattr(engine_choice, "find_spec", lambda _: None)  # no numba
    assert planned_engines(folder, evictions) == ["simpy"] * 3


def test_a_sweep_that_grows_keeps_what_the_other_engine_gave(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "WORTH_COMPILING", 3 * 144)
    before = plan(folder, {"seed": [1, 2]})
    with Store(folder) as store:
        for point in before:
            assert point.engine == "simpy"
            store.put(point.key, "{}", execute(*point.work))
        # Also with results in store, all count: what goes on after a stop goes on as it began.
        after = plan(folder, {"seed": [1, 2, 3]})
        assert [point.engine for point in after] == ["compiled"] * 3
        assert [point.key in store.finished() for point in after] == [True, True, False]


def test_nothing_is_made_where_the_last_point_is_wrong(folder: Path) -> None:
    config = sweep_config(folder, {"cache.capacity": ["50%", {"experts": 1}]})
    refused = here("sweep", config, "--out", "out", cwd=folder)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert not (folder / "out").exists()


# Running


def test_a_sweep_leaves_tables_that_agree(folder: Path) -> None:
    config = sweep_config(
        folder, {"predictor": ["none", "guess"], "cache.capacity": ["30%", "60%"]}
    )
    done = call("sweep", config, "--out", "out", "--jobs", "2", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "TPOT ms" in done.stdout
    table = pq.read_table(folder / "out" / "results.parquet").to_pylist()
    with (folder / "out" / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [row["name"] for row in table] == [
        "none, 30%", "none, 60%", "guess, 30%", "guess, 60%"
    ]  # fmt: skip
    for row, line in zip(table, lines, strict=True):
        assert float(line["tpot_ms.mean"]) == row["tpot_ms.mean"] > 0
        assert json.loads(line["hit_rate.by_layer"]) == row["hit_rate.by_layer"]
        assert line["axis.cache.capacity"] == row["axis.cache.capacity"]
        assert row["cache.share"] == pytest.approx(float(row["axis.cache.capacity"][:-1]) / 100)
    swept = yaml.safe_load((folder / "out" / "sweep.yaml").read_text())
    written = yaml.safe_load(config.read_text())
    assert swept == {**written, "trace": f"../{written['trace']}"}  # as seen from there


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_breaks_no_number_and_names_what_varies(folder: Path, width: int) -> None:
    axes = {
        "hardware": ["a100-pcie-40gb", "jetson-agx-orin-64gb"],
        "predictor": ["none", {"name": "oracle", "recall": 0.5, "distance": 1}],
        "cache.eviction": ["least-stale", "belady"],
        "cache.capacity": ["60%"],
    }
    found = plan(folder, axes)
    numbers = {"tpot_ms.mean": 1234.5, "tpot_ms.p95": 98765.4, "decode_tokens_per_s": 0.0123}
    shares = {"hit_rate.all": 1.0, "total_ms": 1.0, "stall_ms.storage": 1.0, "regret_ms": 0.999}
    rows = [
        {f"axis.{path}": text for path, text in point.axes.items()} | numbers | shares
        for point in found
    ]
    shown = io.StringIO()
    rich.console.Console(file=shown, width=width).print(export.table(found, rows, width))
    text = " ".join(shown.getvalue().split())
    assert text.startswith("in all points: cache.capacity 60%")
    assert "tokens/s: of decode; hit rate: prefill too; stall" in text
    assert text.count("0.0123 1,234 98,765 100.0 % 100.0 % 99.9 %") == len(found) == 8
    assert text.count("oracle") == text.count("distance=1") == text.count("recall=0.5") == 4
    assert "60%" not in text[len("in all points: cache.capacity 60%") :]


def test_a_sweep_gives_what_a_run_gives(folder: Path) -> None:
    keys = {"predictor": "guess", "cache": {"capacity": "30%"}}
    here("sweep", sweep_config(folder, {"seed": [5]}, **keys), "--out", "out", cwd=folder)
    run = write_config(folder / "r.yaml", trace="small.parquet", **keys, seed=5, name="5")
    alone = json.loads(here("run", run, "--json", cwd=folder).stdout)
    assert alone.pop("conclusion")
    ((result, error, _),) = stored(folder / "out").values()
    assert json.loads(result) == alone
    assert error is None


def test_points_that_share_most_run_one_after_another(folder: Path) -> None:
    class AtOnce(Executor):
        def submit(self, work: Any, /, *arguments: Any, **keys: Any) -> Future[Any]:
            ran.append(arguments[0].name)
            future: Future[Any] = Future()
            future.set_result(work(*arguments, **keys))
            return future

    ran: list[str] = []
    sweep = {"predictor": ["none", "guess", "oracle"], "cache.capacity": ["60%", "30%"]}
    tree = BASE | {"trace": str(folder / "small.parquet"), "sweep": sweep}
    with Sweep(folder / "out", tree) as work:
        work.run(points.plan(tree, "s.yaml"), pools.Pool(AtOnce(), lambda: 1, "broken"))
    assert ran == [
        "guess, 30%", "guess, 60%", "none, 30%", "none, 60%", "oracle, 30%", "oracle, 60%"
    ]  # fmt: skip


def test_the_pace_is_that_of_this_sitting() -> None:
    now = [100.0]
    pace = Pace(4, lambda: now[0])
    now[0] = 120.0
    assert pace.step() == "0.05/s, 0:01:00 left"
    now[0] = 130.0
    assert pace.step() == "0.07/s, 0:00:30 left"
    assert pace.step() == "0.10/s, 0:00:10 left"
    assert pace.step() == "0.13/s, 0:00:00 left"


def test_a_killed_sweep_goes_on_where_it_was(folder: Path) -> None:
    total = 8
    config, extra = counted(folder, total)
    arguments = ("sweep", config, "--out", "out", "--jobs", "2")
    work = subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(**extra),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: len(finished(folder / "out")) >= 2)
    work.send_signal(signal.SIGKILL)
    work.wait()
    before = stored(folder / "out")
    assert 2 <= len(before) < total
    wait_for(lambda: settled(folder / "count"))  # its workers end with it
    executions = runs(folder / "count")

    done = call(*arguments, cwd=folder, **extra | {"WAIT": "0"})
    assert done.returncode == 0, done.stderr
    after = stored(folder / "out")
    assert len(after) == total
    assert {key: after[key] for key in before} == before  # kept as they were, and when
    assert runs(folder / "count") - executions == total - len(before)

    again = call(*arguments, cwd=folder, **extra)
    assert again.returncode == 0
    assert stored(folder / "out") == after
    assert runs(folder / "count") - executions == total - len(before)


def counted(folder: Path, total: int) -> tuple[Path, dict[str, str]]:
    """A sweep of slow points that log each execution, and the environment they need."""
    (folder / "counting").mkdir()
    (folder / "counting" / "policy.py").write_text(COUNTING)
    cache = {"capacity": "50%", "eviction": "counting.policy"}
    config = sweep_config(folder, {"seed": list(range(total))}, cache=cache)
    path = os.pathsep.join([str(ROOT / "src"), str(folder)])
    return config, {"COUNT": str(folder / "count"), "WAIT": "0.3", "PYTHONPATH": path}


def finished(folder: Path) -> dict[str, Any]:
    try:
        return stored(folder)
    except sqlite3.Error:
        return {}  # not there yet


def runs(log: Path) -> int:
    return len(log.read_text().splitlines())


def settled(log: Path) -> bool:
    before = runs(log)
    time.sleep(1.0)
    return runs(log) == before


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited a minute in vain"
        time.sleep(0.02)


def interrupted(
    folder: Path, config: Path, extra: dict[str, str], after: Any, *, jobs: int = 2
) -> str:
    """What a sweep says that is stopped by Ctrl-C, once ``after`` holds."""
    work = subprocess.Popen(
        command("sweep", config, "--out", "out", "--jobs", jobs), cwd=folder,
        env=environment(**extra), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    wait_for(after)
    os.killpg(work.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    out, err = work.communicate(timeout=60)
    assert work.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "run again to go on" in err
    return err


def test_ctrl_c_keeps_what_was_finished(folder: Path) -> None:
    config, extra = counted(folder, 40)
    interrupted(folder, config, extra, lambda: len(finished(folder / "out")) >= 1)
    kept = stored(folder / "out")
    assert len(kept) == runs(folder / "count")
    assert all(result is not None for result, _, _ in kept.values())


def test_ctrl_c_while_the_workers_still_start(folder: Path) -> None:
    config, extra = counted(folder, 40)
    (folder / "sitecustomize.py").write_text(SLOW_START)
    err = interrupted(folder, config, extra, (folder / "count.starting").exists)
    beats = "points: ", "checking points: "
    assert [line for line in err.splitlines() if not line.startswith(beats)] == [
        "stopping after 2 running points; Ctrl-C again drops what runs",
        "stopped: 2 of 40 points kept, until then in out/results.csv; run again to go on",
    ]


def test_ctrl_c_is_not_lost_in_an_import(folder: Path) -> None:
    """As in pandas, whose compiled modules swallow an exception that comes in their middle."""
    config, extra = counted(folder, 40)
    (folder / "sitecustomize.py").write_text(SWALLOWING)
    work = subprocess.Popen(
        command("sweep", config, "--out", "out"), cwd=folder, env=environment(**extra),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for((folder / "count.importing").exists)
    work.send_signal(signal.SIGINT)
    assert work.communicate(timeout=60)[1] == ""
    assert work.returncode == -signal.SIGINT
    assert not (folder / "out").exists()


def test_ctrl_c_waits_for_no_point_that_is_not_running(folder: Path) -> None:
    config, extra = counted(folder, 40)
    err = interrupted(folder, config, extra, lambda: bool(finished(folder / "out")), jobs=1)
    # None where the one that ran had just ended.
    assert re.search(r"stopping after (1 running point|0 running points);", err), err


def test_points_that_ended_before_the_stop_was_seen_are_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the first result is stored, and the second ends meanwhile."""
    config, extra = counted(folder, 8)
    for name, value in extra.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    tree = points.read(config, [])
    put = Store.put

    def interrupt(store: Store, *row: Any) -> None:
        if not store.finished():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.0)
        put(store, *row)

    monkeypatch.setattr(Store, "put", interrupt)
    stopped = pytest.raises(KeyboardInterrupt)
    with pools.local(2) as pool, Sweep(folder / "out", tree) as work, stopped:
        work.run(points.plan(tree, "s.yaml"), pool)
    assert len(stored(folder / "out")) == runs(folder / "count") == 2


def test_a_failed_point_is_told_and_the_others_go_on(folder: Path) -> None:
    (folder / "failing").mkdir()
    (folder / "failing" / "policy.py").write_text(FAILING)
    cache = {"capacity": "50%", "eviction": "failing.policy"}
    config = sweep_config(folder, {"seed": [1, 2, 3]}, cache=cache)
    path = os.pathsep.join([str(ROOT / "src"), str(folder)])
    done = call("sweep", config, "--out", "out", cwd=folder, PYTHONPATH=path)
    assert done.returncode == 1
    told = "failed: 2: the policy 'failing.policy' failed: RuntimeError: seed two does not work\n  "
    assert told + str(folder / "failing" / "policy.py") in done.stderr
    rows = pq.read_table(folder / "out" / "results.parquet").to_pylist()
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[1]["tpot_ms.mean"] is None
    assert "Traceback" in rows[1]["error"]


GROWN: dict[str, dict[str, Any]] = {
    "the same": {"sweep": {"seed": [1, 2]}},
    "more values": {"sweep": {"seed": [0, 1, 2, 3]}},
    "in another order": {"sweep": {"seed": [2, 1]}},
    "another block": {"sweep": [{"seed": [1, 2]}, {"cache.eviction": ["fifo"]}]},
    "another axis": {"sweep": {"seed": [1, 2], "cache.capacity": ["50%", "60%"]}},
    "another name": {"sweep": {"seed": [1, 2]}, "name": "other"},
    "a default written out": {"sweep": {"seed": [1, 2]}, "batch_size": 1},
}


@pytest.mark.parametrize("change", GROWN.values(), ids=list(GROWN))
def test_a_sweep_that_grows_goes_on(folder: Path, change: dict[str, Any]) -> None:
    arguments = ("--out", "out", "--jobs", 1)
    here("sweep", sweep_config(folder, {"seed": [1, 2]}), *arguments, cwd=folder)
    before = stored(folder / "out")
    done = here("sweep", sweep_config(folder, **change), *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    after = stored(folder / "out")
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"sweep": {"seed": [2, 3]}}, "1 of whose 2 points this one has not (seed 1 there, 2 h"),
        (
            {"sweep": {"seed": [1, 2]}, "cache": {"capacity": "60%"}},
            "2 of whose 2 points this one has not (cache.capacity 50% there, 60% here)",
        ),
        (
            {"sweep": {"seed": [1, 2]}, "predictor": "guess"},
            "(predictor left out there, guess here)",
        ),
    ],
)  # fmt: skip
def test_another_sweep_in_the_folder_is_refused(
    folder: Path, change: dict[str, Any], differs: str
) -> None:
    arguments = ("--out", "out", "--jobs", 1)
    here("sweep", sweep_config(folder, {"seed": [1, 2]}), *arguments, cwd=folder)
    there = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    refused = here("sweep", sweep_config(folder, **change), *arguments, cwd=folder)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: --out out: holds another sweep")
    assert differs in line
    assert line.endswith("give another folder, or remove out/sweep.yaml to begin anew there")
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == there
    (folder / "out" / "sweep.yaml").unlink()
    done = here("sweep", sweep_config(folder, **change), *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr


def test_a_folder_without_a_result_is_anybodys(folder: Path) -> None:
    with Sweep(folder / "out", {"seed": 0, "sweep": {"cache.scope": ["layer"]}}):
        pass
    config = sweep_config(folder, {"seed": [1]})
    assert here("sweep", config, "--out", "out", cwd=folder).returncode == 0


def test_a_stopped_sweep_leaves_tables_of_what_is_finished(folder: Path) -> None:
    """They have every point, and say which have not run; figures are drawn of the others."""
    config, extra = counted(folder, 40)
    interrupted(folder, config, extra, lambda: len(finished(folder / "out")) >= 2)
    kept = len(stored(folder / "out"))
    rows = pq.read_table(folder / "out" / "results.parquet").to_pylist()
    assert [row["config.seed"] for row in rows] == list(range(40))
    assert sum(row["error"] is None for row in rows) == kept
    assert {row["error"] for row in rows} == {None, "not run yet"}
    with (folder / "out" / "results.csv").open(newline="") as file:
        assert sum(line["error"] == "" for line in csv.DictReader(file)) == kept
    conclusion = (folder / "out" / "conclusion.md").read_text()
    assert conclusion.startswith(f"Of {kept} of 40 points: the others have no result.\n")
    drawn = here("plot", "out", cwd=folder)
    assert drawn.returncode == 0, drawn.stderr


def test_a_sweep_that_is_killed_leaves_no_table_of_an_earlier_one(folder: Path) -> None:
    here("sweep", sweep_config(folder, {"seed": [1]}), "--out", "out", cwd=folder)
    tree = points.read(sweep_config(folder, {"seed": [1, 2]}), [])
    with Sweep(folder / "out", tree):
        pass
    assert {path.name for path in (folder / "out").iterdir()} == {
        ".lock", "results.sqlite", "sweep.yaml"
    }  # fmt: skip
    refused = here("plot", "out", cwd=folder)
    assert refused.returncode == 2
    assert refused.stderr == "error: out: this sweep is not finished; run it again to go on\n"


def test_a_sweep_whose_workers_die_leaves_tables_of_what_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Sweep.run

    def broken(work: Sweep, plan: list[points.Point], pool: pools.Pool) -> None:
        real(work, plan[:2], pool)
        raise ConfigError("a worker process was killed")

    monkeypatch.setattr(Sweep, "run", broken)
    config = sweep_config(folder, {"seed": [1, 2, 3]})
    failed = here("sweep", config, "--out", "out", "--jobs", 1, cwd=folder)
    assert (failed.returncode, failed.stderr) == (2, "error: a worker process was killed\n")
    rows = pq.read_table(folder / "out" / "results.parquet").to_pylist()
    assert [row["error"] for row in rows] == [None, None, "not run yet"]


def test_a_table_that_cannot_be_written_is_named_and_nothing_is_left(folder: Path) -> None:
    table = folder / "out" / "results.csv"
    table.mkdir(parents=True)
    refused = here("sweep", sweep_config(folder, {"seed": [1]}), "--out", "out", cwd=folder)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: out/results.csv: ")
    assert not (folder / "out" / "sweep.yaml").exists()

    found = plan(folder, {"seed": [1]})
    with Store(folder / "out") as store:
        store.put(found[0].key, "{}", Outcome({"loads": 1}, None, 1.0))
        with pytest.raises(IsADirectoryError) as failed:
            export.write(folder / "out", found, store)
    assert failed.value.filename == str(table)
    assert not list((folder / "out").glob("*.tmp"))
    assert not (folder / "out" / "results.parquet").exists()


def test_two_sweeps_at_once_in_one_folder_are_refused(folder: Path) -> None:
    (folder / "out").mkdir()
    config = sweep_config(folder, {"seed": [1]})
    with Store(folder / "out"):
        refused = here("sweep", config, "--out", "out", cwd=folder)
    assert refused.returncode == 2
    assert "another sweep is writing here" in refused.stderr
    assert not (folder / "out" / "sweep.yaml").exists()
    assert here("sweep", config, "--out", "out", cwd=folder).returncode == 0


def test_a_file_that_is_no_database_is_refused(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "results.sqlite").write_text("not a database" * 100)
    refused = here("sweep", sweep_config(folder, {"seed": [1]}), "--out", "out", cwd=folder)
    assert refused.returncode == 2
    assert "results.sqlite" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_stored_result_replaces_an_earlier_failure(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put("a", "{}", Outcome(None, "went wrong", 1.0))
        assert store.finished() == set()
        store.put("a", "{}", Outcome({"x": 1}, None, 2.0))
        assert store.finished() == {"a"}
        assert store.get(["a", "b"]) == {"a": Outcome({"x": 1}, None, 2.0)}


@pytest.mark.skipif("mini-gpt-oss" not in samples(), reason="the sample trace is not built yet")
def test_the_default_experiment_is_valid_and_has_the_axes_of_every_figure() -> None:
    path = ROOT / "experiments" / "default.yaml"
    found = points.plan(points.read(path, []), str(path))
    assert set(found[0].axes) == {
        "hardware", "runtime.kernels", "predictor", "cache.eviction", "cache.capacity",
    }  # fmt: skip
    assert len({p.cache_bytes for p in found}) >= 4
    assert len({p.config.hardware.name for p in found}) >= 6


@pytest.mark.skipif("mini-gpt-oss" not in samples(), reason="the sample trace is not built yet")
def test_the_thousand_points_can_all_run() -> None:
    path = ROOT / "experiments" / "thousand.yaml"
    found = points.plan(points.read(path, []), str(path))
    assert len(found) == len({p.key for p in found}) == 1000
    assert max(p.cache_bytes / p.model_bytes for p in found) == 1
