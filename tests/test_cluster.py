"""Sweeps on any executor, a Dask cluster among them: same results, nothing lost or done twice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakSet

import pytest
from cli_support import BASE, ROOT, call, command, environment, small_trace, write_config
from distributed import LocalCluster
from test_sweep import finished, stored, wait_for

from prefetch_sim.experiments.sweeps import export, points, pools
from prefetch_sim.experiments.sweeps.runner import Sweep
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree
from prefetch_sim.sim.setup import engine_choice

# An eviction that logs the process and the seed of each run, and takes its time. The first run of
# seed 3 does not end by itself.
LOGGING = """
import os, time
from pathlib import Path
from prefetch_sim.sim.eviction import base
from prefetch_sim.sim.eviction.lru import *

LOG = Path(__file__).with_name("log")

def new_state(experts, layers, seed, future):
    with LOG.open("a") as log:
        log.write(f"{os.getpid()} {seed}\\n")
    time.sleep(60 if LOG.read_text().split().count("3") == 1 and seed == 3 else 0.1)
    return base.new_state(experts, layers, seed, future)
"""


class Dask(NamedTuple):
    address: str
    modules: Path  # where its workers, too, find policies


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """Two workers, processes of one thread each."""
    modules = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(modules)  # its processes look where this one does
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
            yield Dask(cluster.scheduler_address, modules)


@contextmanager
def threads(count: int) -> Iterator[pools.Pool]:
    with ThreadPoolExecutor(count) as executor:
        yield pools.Pool(executor, lambda: count, "broken")


def tree(folder: Path, **keys: Any) -> Tree:
    small_trace(folder / "small.parquet")
    return BASE | {"trace": str(folder / "small.parquet")} | keys


def run(folder: Path, swept: Tree, pool: pools.Pool) -> None:
    plan = points.plan(swept, "s.yaml")
    with Sweep(folder, swept) as work:
        work.run(plan, pool)
        export.write(folder, plan, work.store)


def logged(log: Path) -> list[tuple[int, int]]:
    """(process, seed) of every run that began."""
    if not log.exists():
        return []
    return [(int(pid), int(seed)) for pid, seed in map(str.split, log.read_text().splitlines())]


def logging_policy(modules: Path, name: str) -> Path:
    """The log of an eviction ``name.policy``, which is made here."""
    (modules / name).mkdir()
    (modules / name / "policy.py").write_text(LOGGING)
    return modules / name / "log"


def test_results_are_the_same_on_every_executor(tmp_path: Path, dask: Dask) -> None:
    sweep = {
        "predictor": ["none", "guess", {"name": "oracle", "recall": 0.5}, "transition"],
        "cache.capacity": ["30%", "60%"],
    }
    swept = tree(tmp_path, sweep=sweep)
    with threads(1) as pool:
        run(tmp_path / "one", swept, pool)
    with threads(3) as pool:
        run(tmp_path / "threads", swept, pool)
    config = write_config(tmp_path / "s.yaml", **swept)
    done = call("sweep", config, "--out", "dask", "--scheduler", dask.address, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Results and errors, to the byte; when they were finished differs.
    expected = {key: row[:2] for key, row in stored(tmp_path / "one").items()}
    assert len(expected) == 8
    for other in ("threads", "dask"):
        assert {key: row[:2] for key, row in stored(tmp_path / other).items()} == expected
        for table in export.EXPORTS:
            assert (tmp_path / other / table).read_bytes() == (
                tmp_path / "one" / table
            ).read_bytes()


def test_a_finished_future_is_let_go(tmp_path: Path) -> None:
    """A cluster holds its result until then, and makes it again should the worker die."""

    class AtOnce(Executor):
        def __init__(self) -> None:
            self.alive: WeakSet[Future[Any]] = WeakSet()
            self.most = 0

        def submit(self, work: Any, /, *arguments: Any, **keys: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(work(*arguments, **keys))
            self.alive.add(future)
            self.most = max(self.most, len(self.alive))
            return future

    executor = AtOnce()
    run(
        tmp_path / "out", tree(tmp_path, sweep={"seed": [1, 2, 3]}),
        pools.Pool(executor, lambda: 1, "broken"),
    )  # fmt: skip
    assert len(stored(tmp_path / "out")) == 3
    assert executor.most == 1


def test_a_killed_worker_costs_the_point_it_was_running(tmp_path: Path, dask: Dask) -> None:
    log = logging_policy(dask.modules, "killed")
    cache = {"capacity": "50%", "eviction": "killed.policy"}
    swept = tree(tmp_path, cache=cache, sweep={"seed": list(range(8))})
    killed = []

    def kill() -> None:
        wait_for(lambda: len(finished(tmp_path / "out")) == 7)
        killed.append(next(pid for pid, seed in logged(log) if seed == 3))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pools.cluster(dask.address) as pool:
        run(tmp_path / "out", swept, pool)
    killer.join()
    assert len(killed) == 1
    assert all(error is None for _, error, _ in stored(tmp_path / "out").values())
    assert len(stored(tmp_path / "out")) == 8
    assert Counter(seed for _, seed in logged(log)) == dict.fromkeys(range(8), 1) | {3: 2}
    assert os.getpid() not in {pid for pid, _ in logged(log)}


def test_a_worker_without_our_code_says_so_and_lives(
    dask: Dask, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_here = ModuleType("only_here")
    exec("def work(): return 1", only_here.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    with pools.cluster(dask.address) as pool:
        with pytest.raises(ModuleNotFoundError, match="only_here"):
            pool.executor.submit(only_here.work).result(timeout=60)
        assert pool.executor.submit(len, "abc").result(timeout=60) == 3


def test_ctrl_c_keeps_what_the_cluster_was_running(tmp_path: Path, dask: Dask) -> None:
    log = logging_policy(dask.modules, "stopped")
    log.write_text("0 3\n")  # so that no point takes long
    cache = {"capacity": "50%", "eviction": "stopped.policy"}
    config = write_config(
        tmp_path / "s.yaml", **tree(tmp_path, cache=cache, sweep={"seed": list(range(40))})
    )
    path = os.pathsep.join([str(ROOT / "src"), str(dask.modules)])
    work = subprocess.Popen(
        command("sweep", config, "--out", "out", "--scheduler", dask.address), cwd=tmp_path,
        env=environment(PYTHONPATH=path), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: len(finished(tmp_path / "out")) >= 1)
    work.send_signal(signal.SIGINT)
    err = work.communicate(timeout=60)[1]
    assert work.returncode == 130, err
    assert "Traceback" not in err
    kept = stored(tmp_path / "out")
    assert 1 <= len(kept) == len(logged(log)) - 1 < 40
    assert all(result is not None for result, _, _ in kept.values())


def test_a_cluster_that_goes_away_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swept = tree(tmp_path, sweep={"seed": [1, 2]})
    gone = LocalCluster(n_workers=0, dashboard_address=":0")
    address = gone.scheduler_address

    def close() -> None:
        wait_for((tmp_path / "out" / "sweep.yaml").exists)
        gone.close()

    closer = threading.Thread(target=close)
    closer.start()
    told = f"the cluster at {address} is gone or was restarted"
    with pytest.raises(ConfigError, match=told), pools.cluster(address) as pool:
        run(tmp_path / "out", swept, pool)
    closer.join()
    assert f"{address} has no workers: waiting for the first" in capsys.readouterr().err
    assert stored(tmp_path / "out") == {}


def test_an_address_nobody_answers_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", "nowhere", "http://x", "a:b:c", "inproc://x"):
        told = f"--scheduler {address}: no scheduler there"
        with pytest.raises(ConfigError, match=told), pools.cluster(address):
            pass


def test_a_bad_address_leaves_nothing_behind_its_error(tmp_path: Path) -> None:
    config = write_config(tmp_path / "s.yaml", **tree(tmp_path, sweep={"seed": [1]}))
    for address, told in (("nowhere", "no scheduler there"), ("", "the address is empty")):
        refused = call("sweep", config, "--out", "out", "--scheduler", address, cwd=tmp_path)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert told in refused.stderr
    assert not (tmp_path / "out").exists()


def test_ctrl_c_does_not_wait_for_workers_that_are_not_there(tmp_path: Path) -> None:
    config = write_config(tmp_path / "s.yaml", **tree(tmp_path, sweep={"seed": [1, 2]}))
    with LocalCluster(n_workers=0, dashboard_address=":0") as nobody:
        work = subprocess.Popen(
            command("sweep", config, "--out", "out", "--scheduler", nobody.scheduler_address),
            cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert work.stderr is not None
        assert "has no workers: waiting" in work.stderr.readline()
        time.sleep(0.5)  # until it waits
        work.send_signal(signal.SIGINT)
        err = work.communicate(timeout=60)[1]
    assert work.returncode == 130, err
    assert "0 of 2 points kept" in err
    assert "Traceback" not in err


def test_a_cluster_has_its_own_number_of_workers(tmp_path: Path) -> None:
    config = write_config(tmp_path / "s.yaml", **tree(tmp_path, sweep={"seed": [1]}))
    arguments = ("--out", "out", "--jobs", 2, "--scheduler", "127.0.0.1:1")
    refused = call("sweep", config, *arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == "error: --jobs: with --scheduler, each of its workers runs a point\n"
    assert not (tmp_path / "out").exists()


def test_without_dask_the_option_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    told = r"pip install -e '.\[cluster\]'"
    with pytest.raises(ConfigError, match=told), pools.cluster("127.0.0.1:8786"):
        pass


def test_a_worker_with_other_code_ends_the_sweep(tmp_path: Path) -> None:
    swept = tree(tmp_path, sweep={"seed": [1, 2, 3]})
    found = points.plan(swept, "s.yaml")
    other = {"trace": "0", "code": "0"}
    found[1] = replace(found[1], identity=found[1].identity | other)
    told = pytest.raises(ConfigError, match="has other trace and code than this sweep")
    with threads(1) as pool, Sweep(tmp_path / "out", swept) as work, told:
        work.run(found, pool)
    assert stored(tmp_path / "out").keys() == {found[0].key}


def test_a_worker_without_numba_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept = tree(tmp_path, engine="compiled", sweep={"seed": [1, 2]})
    found = points.plan(swept, "s.yaml")
    monkeypatch.setattr(engine_choice, "find_spec", lambda _: None)
    told = pytest.raises(ConfigError, match="has other engines than this sweep was planned with")
    with threads(1) as pool, Sweep(tmp_path / "out", swept) as work, told:
        work.run(found, pool)
    assert not stored(tmp_path / "out")


def test_a_worker_without_the_trace_fails_the_point(tmp_path: Path) -> None:
    swept = tree(tmp_path, sweep={"seed": [1, 2]})
    found = points.plan(swept, "s.yaml")
    (tmp_path / "small.parquet").unlink()
    with threads(1) as pool, Sweep(tmp_path / "out", swept) as work:
        work.run(found, pool)
    for result, error, _ in stored(tmp_path / "out").values():
        assert result is None
        assert error.splitlines()[-1].startswith(
            "prefetch_sim.sim.config.errors.ConfigError: trace: no file or sample"
        )
