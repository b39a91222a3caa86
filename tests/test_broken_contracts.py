"""Policies of one's own that break their contract in a run: one line, and no results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cli_support import run_cli, small_trace, write_config
from test_check import EVICTION, MISSES, PREDICTOR, PREFETCH

import prefetch_sim
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.eviction import s3_fifo
from prefetch_sim.sim.setup.contracts import held
from prefetch_sim.sim.workload.workload import Workload

QUEUES = '''
"""Nobody in particular."""


def inserted(state, x, now):
    return 0


def used(state, x, now, score):
    return 0


def victim(state, p, now):
    return 0


def kept(state, x, now):
    pass
'''
ONLINE = '''
"""The first two experts of each layer."""

from prefetch_sim.sim.predictors.base import Online, Prediction, PredictorParams


class Params(PredictorParams):
    pass


class Predictor(Online):
    trigger, distance = "gate_input", 1

    def __init__(self, params, context):
        super().__init__(context)
        self.experts = context.workload.experts

    def predict(self, step, target):
        first = target * self.experts
        return Prediction([first, first + 1] * len(step.rows), [0.5, 0.25] * len(step.rows))

    def observe(self, step, layer):
        pass
'''
PLACES: dict[str, dict[str, Any]] = {
    EVICTION: {"cache": {"capacity": "50%", "eviction": "mine.py"}},
    QUEUES: {"cache": {"capacity": "50%", "eviction": "mine.py"}},
    PREFETCH: {"prefetch": {"policy": "mine.py"}, "predictor": "guess"},
    MISSES: {"misses": "mine.py", "hardware": "rtx-4090"},
    PREDICTOR: {"predictor": "mine.py"},
    ONLINE: {"predictor": "mine.py"},
}
SECOND = "= 0.5\n        return said", "= 0.5\n        {}\n        return said"


def table(line: str) -> tuple[str, str]:
    """``line`` before the table is returned."""
    return SECOND[0], SECOND[1].format(line)


# The policy, what is replaced, by what, and what is said.
BROKEN = [
    (EVICTION, "score):\n    return -now", "score):\n    return", "used returned None where a sc"),
    (EVICTION, "return -now\n\n\n", "return -now / 2\n\n\n", "inserted returned 0.0 where"),
    (EVICTION, "return -now\n\n\n", "return float('nan')\n\n\n", "inserted returned nan where"),
    (EVICTION, "return -now\n\n\n", "return str(now)\n\n\n", "inserted returned '"),
    (EVICTION, "\n\n\ndef used", "\n\n\ndef begin(state, rooms): pass\n\n\ndef used", "begin retu"),
    (
        QUEUES,
        "return 0\n\n\ndef kept",
        "return 7\n\n\ndef kept",
        "victim gave 7, which is not",
    ),
    (QUEUES, "return 0\n\n\ndef kept", "return -1\n\n\ndef kept", "victim gave -1, which is not"),
    (QUEUES, "return 0\n\n\ndef kept", "pass\n\n\ndef kept", "victim gave None, which is not"),
    (PREFETCH, "    return n\n", "", "propose returned None where a count is expected"),
    (PREFETCH, "return n", "return n / 1", ".0 where a count is expected"),
    (PREFETCH, "return n", "return -1", "propose returned -1 where there are 8 c"),
    (PREFETCH, "return n", "return n + 1", "more than it wrote: out["),
    (PREFETCH, "out[n] = x", "out[n] = -1", "propose proposed -1, which is no candidate"),
    (PREFETCH, "out[n] = x", "out[n] = 0 if x else 1", "propose proposed 0, which is no candidate"),
    (PREFETCH, "out[n] = x", "out[n] = float(x)", "to out where a whole number is expected"),
    (PREFETCH, "return n", "out[1] = out[0]; priority[1] = 0; return 2", "twice"),
    (
        PREFETCH,
        "return n",
        "out[:2] = ids; priority[:2] = [1, 0]; return 2",
        "to priority[1], behind 1",
    ),
    (PREFETCH, "return n", "priority[:n] = range(n, 0, -1); return n", "to priority[1], behind "),
    (
        PREFETCH,
        "priority[n] = 0",
        "priority[n] = -1",
        "propose wrote -1 to priority[0], below 0",
    ),
    (PREFETCH, "priority[n] = 0", "priority[n] = 0.5", "propose wrote 0.5 to priority where a wh"),
    (PREFETCH, "priority[n] = 0", "pass", "priority[0] is not written"),
    (MISSES, "chosen[i] = i % 2", "pass", "plan did not write chosen[0]: 0 or 1"),
    (MISSES, "chosen[i] = i % 2", "chosen[i] = 2", "plan wrote 2 to chosen[0] where 0 or 1 is"),
    (MISSES, "chosen[i] = i % 2", "chosen.clear()", "plan left 0 of the "),
    (MISSES, "chosen[i] = i % 2", "chosen[i] = 'gpu'", "plan wrote 'gpu' to chosen[0] where"),
    (PREDICTOR, *table("said.ids[said.ids >= 0] %= 8"), "and the flat ids of that layer are 8 to"),
    (PREDICTOR, *table("said.ids[said.ids >= 0] += 8"), "of layer 1 it names"),
    (PREDICTOR, "= 0.5", "= 50", "is 50.0, and not from 0 to 1"),
    (PREDICTOR, "= 0.5", "= np.nan", "is nan, and not from 0 to 1"),
    (PREDICTOR, *table("said.scores[..., 1] *= 2"), "behind one with a lower score: best first"),
    (PREDICTOR, *table("said.ids[..., 1] = said.ids[..., 0]"), "twice"),
    (PREDICTOR, *table("said.ids[..., 0] = -1"), "behind a -1, which says that there are no more"),
    (PREDICTOR, *table("said = said.ids"), "where a Table of two arrays is expected"),
    (PREDICTOR, *table("said = Table(said.ids[1:], said.scores[1:])"), "4 layers, candidates]"),
    (PREDICTOR, "distance = 1", "trigger = 'gate_imput'", "trigger is 'gate_imput'; did you mean"),
    (PREDICTOR, "distance = 1", "trigger = 'routed'", "distance is 0, and is a whole number from"),
    (PREDICTOR, "distance = 1", "cost = -1, 0", "cost is (-1, 0), and is Cost(flops, nbytes)"),
    (
        ONLINE,
        "return Prediction(",
        "return [first]\n        Prediction(",
        "predict returned [8]",
    ),
    (ONLINE, "[first, first + 1]", "[first]", "4 ids and 8 scores for 4 tokens"),
    (ONLINE, "[first, first + 1]", "[1 << 32, 3]", "it names 2147483647, and the flat ids"),
    (ONLINE, "[first, first + 1]", "['a', 'b']", "lists of whole numbers, and of numbers"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_trace(tmp_path / "small.parquet", requests=1, decode=4)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(policy: str, text: str) -> Path:
    Path("mine.py").write_text(text)
    keys = {"trace": "small.parquet", "cache": {"capacity": "50%"}} | PLACES[policy]
    return write_config(Path("run.yaml"), **keys)


@pytest.mark.parametrize("policy", [EVICTION, PREFETCH, MISSES, PREDICTOR, ONLINE])
def test_what_keeps_its_contract_runs(policy: str, folder: Path) -> None:
    end = run_cli("run", config_of(policy, policy), "--json")
    assert end.code == 0, end


@pytest.mark.parametrize(("policy", "old", "new", "said"), BROKEN)
def test_a_broken_contract_is_one_line(
    policy: str, old: str, new: str, said: str, folder: Path
) -> None:
    assert old in policy
    end = run_cli("run", config_of(policy, policy.replace(old, new, 1)), "--json")
    assert (end.code, end.out) == (2, ""), end
    assert end.err.startswith("error: policy file 'mine.py': ")
    assert said in end.err
    assert end.err.endswith("; 'prefetch-sim check mine.py' tries all of its contract\n")
    assert end.err.count("\n") == 1


def test_a_file_is_called_by_its_name_where_it_cannot_be_compiled(folder: Path) -> None:
    end = run_cli("run", config_of(EVICTION, EVICTION), "--set", "engine=compiled")
    assert "engine: compiled has no form of the eviction 'mine.py': use engine: simpy" in end.err


# The policy, a line of it, another instead, the exception, and what is probably left out.
LEFT_OUT = [
    (
        EVICTION,
        "return -now",
        "return int(state.future.positions[state.future.cursor[x]])",
        "IndexError",
        "there is no future without LOOKS_AHEAD = True",
    ),
    (
        EVICTION,
        "return -now",
        "return state.shared[5]",
        "IndexError",
        "state.shared has five integers, unless begin returns more",
    ),
    (
        EVICTION,
        "return -now",
        "state.shared[state.shared[3] + 5] += 1; return -now",
        "IndexError",
        "state.shared has five integers, unless begin returns more",
    ),
    (
        EVICTION,
        "def inserted",
        "def new_state(experts, layers, seed, future):\n    return future.start\n\n\ndef inserted",
        "AttributeError",
        "there is no future without LOOKS_AHEAD = True",
    ),
]


@pytest.mark.parametrize(("policy", "old", "new", "error", "said"), LEFT_OUT)
def test_what_was_left_out_is_told(
    policy: str, old: str, new: str, error: str, said: str, folder: Path
) -> None:
    end = run_cli("run", config_of(policy, policy.replace(old, new, 1)))
    first, *where = end.err.splitlines()
    assert first.startswith(f"error: the policy 'mine.py' failed: {error}: ")
    assert first.endswith(f"; {said}")
    assert len(where) == 2
    told = prefetch_sim.check("mine.py").verdicts[1].counterexample
    assert f"; {said} ({folder.resolve()}/mine.py, line " in str(told)


# Lines that fail of another list than the one that their function has, too.
NOT_LEFT_OUT = [
    "def new_state(experts, layers, seed, future):\n    return TABLE[9]",
    "def begin(state, rooms):\n    return [state.shared[0], TABLE[9]]",
    "def begin(state, rooms):\n    return TABLE[state.shared[0]]",
    "def begin(state, rooms):\n    return TABLE[0](state.shared, state.future)",
]


@pytest.mark.parametrize("more", NOT_LEFT_OUT)
def test_what_failed_of_another_name_was_not_left_out(more: str, folder: Path) -> None:
    text = f"{EVICTION}\n\nTABLE = [lambda *_: [][0]]\n\n\n{more}\n"
    end = run_cli("run", config_of(EVICTION, text))
    assert end.err.splitlines()[0].endswith("failed: IndexError: list index out of range"), end.err
    told = prefetch_sim.check("mine.py").verdicts
    assert any("out of range (" in str(one.counterexample) for one in told)


def test_the_line_shown_is_that_of_the_file_as_it_is(folder: Path) -> None:
    for line in ("return [][0]", "return [][1]"):
        config = config_of(PREFETCH, PREFETCH.replace("return n", line, 1))
        with pytest.raises(ConfigError, match=re.escape(f"    {line}")):
            prefetch_sim.run(config)
        Path("mine.py").unlink()


def test_of_two_files_the_one_that_fails_is_named(folder: Path) -> None:
    config = config_of(PREFETCH, PREFETCH)
    Path("other.py").write_text(EVICTION.replace("-now", "-len(now)"))
    end = run_cli("run", config, "--set", "cache.eviction=other.py")
    assert end.err.startswith("error: the policy 'other.py' failed: TypeError: "), end.err


def test_no_predictor_rewrites_the_routing(folder: Path) -> None:
    workload = Workload(small_trace(folder / "t.parquet"), 1)
    with pytest.raises(ValueError, match="read-only"):
        workload.flat[0, 0, 0] = 1


def test_a_prefetch_policy_may_replace_the_whole_of_its_lists(folder: Path) -> None:
    plain = run_cli("run", config_of(PREFETCH, PREFETCH), "--json")
    whole = "    out[:], priority[:] = out[:n], priority[:n]\n    return n\n"
    other = run_cli("run", config_of(PREFETCH, PREFETCH.replace("    return n\n", whole)), "--json")
    assert json.loads(other.out) == json.loads(plain.out)


def test_what_a_prefetch_policy_writes_to_resident_changes_nothing(folder: Path) -> None:
    plain = run_cli("run", config_of(PREFETCH, PREFETCH), "--json")
    text = PREFETCH.replace("    return n\n", "    resident[ids[0]] = True\n    return n\n")
    assert text != PREFETCH
    other = run_cli("run", config_of(PREFETCH, text), "--json")
    assert json.loads(other.out) == json.loads(plain.out)


def test_numpy_s_numbers_are_numbers(folder: Path) -> None:
    plain = run_cli("run", config_of(EVICTION, EVICTION), "--json")
    text = "import numpy as np\n" + EVICTION.replace("-now", "np.int32(-now)")
    other = run_cli("run", config_of(EVICTION, text), "--json")
    assert json.loads(other.out) == json.loads(plain.out)


def test_a_point_of_a_sweep_fails_by_that_line(folder: Path) -> None:
    config = config_of(PREFETCH, PREFETCH.replace("    return n\n", ""))
    sweep = Path("sweep.yaml")
    sweep.write_text(config.read_text() + "sweep: {cache.capacity: ['30%', '60%']}\n")
    end = run_cli("sweep", sweep, "--out", "out", "--jobs", 1)
    assert end.code == 1, end
    line = "policy file 'mine.py': propose returned None where a count is expected; "
    assert line + "'prefetch-sim check mine.py'" in " ".join(end.err.split())


# The policy, what is replaced, by what, what is said, and in which line that is.
ARGUMENTS = [
    (EVICTION, "(state, x, now)", "(x, now)", "inserted takes (x, now) and is called with", 5),
    (EVICTION, "(state, x, now)", "(s, now, x)", "inserted takes (s, now, x) and is called", 5),
    (QUEUES, "(state, p, now)", "(state, now)", "victim takes (state, now) and is called with", 13),
    (PREFETCH, ", stamp, out,", ", out,", "and is called with (ids, scores, tokens, limits", 5),
    (MISSES, "layer, chosen", "layer", "plan takes (count, cpu_ns, state, layer) and is", 5),
    (PREDICTOR, "(self, params, context)", "(self, capacity)", "Predictor takes (capacity)", 17),
    (ONLINE, "predict(self, step,", "predict(self,", "Predictor.predict takes (self, target)", 18),
]


@pytest.mark.parametrize(("policy", "old", "new", "said", "line"), ARGUMENTS)
def test_arguments_are_told_before_anything_runs(
    policy: str, old: str, new: str, said: str, line: int, folder: Path
) -> None:
    config = config_of(policy, policy.replace(old, new, 1))
    end = run_cli("run", config, "--json")
    assert (end.code, end.out) == (2, ""), end
    (verdict, *_) = prefetch_sim.check("mine.py").verdicts
    assert said in str(verdict.counterexample)
    assert str(verdict.counterexample) in end.err
    assert f"({folder.resolve() / 'mine.py'}, line {line}); 'prefetch-sim check mine.py'" in end.err
    assert end.err.count("\n") == 1
    Path("sweep.yaml").write_text(config.read_text() + "sweep: {cache.capacity: ['30%', '60%']}\n")
    end = run_cli("sweep", "sweep.yaml", "--out", "out", "--jobs", 1)
    assert end.code == 2, end
    assert said in end.err
    assert not Path("out").exists()


def test_static_methods_of_a_predictor_are_called_without_it(folder: Path) -> None:
    text = ONLINE.replace("def observe(self, ", "@staticmethod\n    def observe(")
    assert run_cli("run", config_of(ONLINE, text), "--json").code == 0


class Coldest:
    """The expert that was used least leaves first."""

    def __init__(self, capacity: int, seed: int) -> None:
        self.uses = dict.fromkeys(range(capacity), seed)

    def inserted(self, x: int, now: int) -> int:
        return 0

    def used(self, x: int, now: int, score: int) -> int:
        return score + 1


class Swapped(Coldest):
    """It is told the expert, and then the time."""

    def inserted(self, now: int, x: int) -> int:
        return 0


class AllOnGpu:
    """The CPU takes nothing."""

    def __init__(self, least: int) -> None:
        self.least = least

    def plan(self, count: int, cpu_ns: Any, state: Any, layer: Any, chosen: Any) -> None:
        chosen[:count] = [self.least] * count


def test_an_eviction_is_given_as_a_class_that_needs_what_there_is(folder: Path) -> None:
    config = config_of(EVICTION, EVICTION)
    instance = "inserted takes (x, now) and is called with (state, x, now), in that order: give "
    for policy, said in (
        (Coldest(6144, 0), f"{instance}the class 'Coldest', no instance ({__file__}, line "),
        (
            Swapped,
            "inserted takes (self, now, x) and is called with (state, x, now), in that order (",
        ),
        (Coldest, "__init__ needs capacity, and may ask for experts, layers, seed, future alone ("),
    ):
        found = prefetch_sim.check(policy).verdicts[0].counterexample
        assert said in str(found)
        with pytest.raises(ConfigError, match=re.escape(said)):
            prefetch_sim.run(config, {"cache.eviction": policy})


@pytest.mark.parametrize("odd", [lambda routed, layer, more: [], lambda x, routed: []])
def test_a_predictor_function_takes_what_is_routed_and_the_layer(odd: Any, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r" takes \(.*\) and is called with \(routed, layer\)"):
        prefetch_sim.run(config_of(EVICTION, EVICTION), {"predictor": odd})


def test_what_is_made_with_nothing_or_by_the_run(folder: Path) -> None:
    config = config_of(MISSES, MISSES)
    space: dict[str, Any] = {"__name__": "mine"}
    exec(ONLINE, space)
    predictor = space["Predictor"]
    predictor.__init__ = lambda self: None
    for key, policy, said in (
        ("misses", AllOnGpu, "'AllOnGpu' is made with nothing, and its __init__ needs least"),
        ("predictor", predictor(), "'Predictor' is no predictor, but one of them: give the class"),
    ):
        for tried in (
            lambda policy=policy: prefetch_sim.check(policy),
            lambda key=key, policy=policy: prefetch_sim.run(config, {key: policy}),
        ):
            with pytest.raises(ConfigError, match=re.escape(said)):
                tried()
    assert prefetch_sim.check(AllOnGpu(0)).held


def test_python_objects_and_import_paths_are_named(folder: Path) -> None:
    class Broken:
        """It gives no score."""

        def inserted(self, x: int, now: int) -> None: ...

        def used(self, x: int, now: int, score: int) -> int:
            return 0

    config = config_of(EVICTION, EVICTION)
    said = r"policy '.*Broken': inserted returned None .*; prefetch_sim\.check\(\.\.\.\) tries"
    with pytest.raises(ConfigError, match=said):
        prefetch_sim.run(config, {"cache.eviction": Broken})
    Path("broken_by_path.py").write_text(EVICTION.replace("-now", "None"))
    Path("a_package").mkdir()
    Path("broken_by_path.py").rename("a_package/broken.py")
    end = run_cli("run", config, "--set", "cache.eviction=a_package.broken")
    assert "error: policy 'a_package.broken': inserted returned None" in end.err
    assert "; 'prefetch-sim check a_package.broken' tries" in end.err


def test_what_a_policy_changes_of_its_candidates_stays_there(folder: Path) -> None:
    plain = run_cli("run", config_of(PREFETCH, PREFETCH), "--json")
    text = PREFETCH.replace("return n", "ids[:] = [-1] * len(ids)\n    return n")
    assert run_cli("run", config_of(PREFETCH, text), "--json").out == plain.out


def test_the_package_s_own_are_called_as_they_are() -> None:
    assert held("eviction", s3_fifo) is s3_fifo
    assert Tier([1], [1], [0], 1, s3_fifo)._queues == (s3_fifo.victim, s3_fifo.kept)
