"""``prefetch-sim check``: each kind of policy, kept and broken rules, and what is no policy."""

from __future__ import annotations

import json
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_support import run_cli

import prefetch_sim
from prefetch_sim.experiments.checking import checks, rules
from prefetch_sim.experiments.checking.checks import check
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.errors import ConfigError

EVICTION = '''
"""Most recently used: the expert used last leaves first."""


def inserted(state, x, now):
    return -now


def used(state, x, now, score):
    return -now
'''
PREFETCH = '''
"""The first candidate of each token."""


def propose(ids, scores, tokens, limits, resident, seen, stamp, out, priority):
    n = 0
    for i in range(0, len(ids), len(ids) // tokens):
        x = ids[i]
        if x >= 0 and seen[x] != stamp:
            seen[x] = stamp
            out[n] = x
            priority[n] = 0
            n += 1
    return n
'''
MISSES = '''
"""The CPU takes every second one."""


def plan(count, cpu_ns, state, layer, chosen):
    for i in range(count):
        chosen[i] = i % 2
'''
PREDICTOR = '''
"""What the layer routed for the request's last token."""

import numpy as np

from prefetch_sim.sim.predictors.base import Predictor as Base
from prefetch_sim.sim.predictors.base import PredictorParams, Table, silent


class Params(PredictorParams):
    pass


class Predictor(Base):
    distance = 1

    def __init__(self, params, context):
        self.workload = context.workload

    def table(self):
        said = silent(self.workload, self.workload.top_k)
        for _, first, last in self.workload.requests:
            for row in range(first, last):
                if row > first and self.workload.trace.phase[row] == 1:
                    said.ids[row, 1:] = self.workload.flat[row - 1, 1:]
        said.scores[said.ids >= 0] = 0.5
        return said
'''
GOOD = {
    "eviction": EVICTION,
    "prefetch": PREFETCH,
    "misses": MISSES,
    "predictors": PREDICTOR,
}
# kind, what is replaced, by what, the rule that breaks, what its counterexample says
BROKEN = [
    (
        "eviction",
        "return -now\n\n\ndef",
        "return -now / 2\n\n\ndef",
        "Whoever has",
        "no whole number",
    ),
    ("eviction", '"""Most', 'ASCENDING = True\n"""Most', "Whoever has", "ASCENDING is True"),
    ("eviction", "recently used: the expert used last leaves first.", "recent", "Its doc", "'Most"),
    ("eviction", "    return -now\n\n\n", "    return nowhere\n\n\n", "Whoever has", "line 6"),
    (
        "eviction",
        "def used(state, x, now, score):\n    return -now",
        "calls = []\n\n\ndef used(state, x, now, score):\n    calls.append(x)\n"
        "    return len(calls)",
        "What it remembers of one cache",
        "call ",
    ),
    ("prefetch", "seen[x] != stamp", "True", "It proposes some", "twice"),
    ("prefetch", "= stamp", "= 1", "A call says the same", "alone"),
    ("prefetch", "priority[n] = 0", "priority[n] = -n", "Priorities are", "priorities ["),
    ("misses", "for i", "raise GeneratorExit\n    for i", "It writes 0 or 1", "GeneratorExit"),
    ("misses", "i % 2", "i", "It writes 0 or 1", "it wrote [0, 1, 2"),
    ("misses", "range(count)", "range(count + 1)", "It writes 0 or 1", "behind"),
    ("predictors", "flat[row - 1, 1:]", "flat[row, 1:]", "What is not routed yet", "other routing"),
    ("predictors", "= 0.5", "= 2.0", "Candidates are", "scores are"),
    ("predictors", "flat[row - 1, 1:]", "flat[row - 1, :-1]", "Candidates are", "not of the layer"),
]


@pytest.mark.parametrize("kind", GOOD)
def test_a_file_that_keeps_its_contract(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD[kind])
    done = run_cli("check", path)
    assert done.code == 0, done.out + done.err
    assert f"{path.name}: a" in done.out.replace("\n", "")
    assert registry.words(kind) in done.out
    assert "BROKEN" not in done.out


@pytest.mark.parametrize(("kind", "old", "new", "rule", "says"), BROKEN)
def test_a_broken_rule_and_its_counterexample(
    kind: str,
    old: str,
    new: str,
    rule: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tried,) = [one for one in checks.RULES[kind] if rules.says(one).startswith(rule)]
    monkeypatch.setitem(checks.RULES, kind, (tried,))  # the others take their time
    path = tmp_path / "mine.py"
    assert old in GOOD[kind]
    path.write_text(GOOD[kind].replace(old, new))
    done = run_cli("check", path, "--json")
    assert done.code == 1, done.out + done.err
    found = json.loads(done.out)
    assert found["kind"] == kind
    assert not found["held"]
    (verdict,) = found["verdicts"]
    assert says in verdict["counterexample"]
    assert "\n" not in verdict["counterexample"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "is no policy: it has the functions of none"),
        ("def inserted(state, x, now): return 0", "it has no 'used'"),
        ("def propose(:", "SyntaxError"),
        ("raise SystemExit(0)", "mine.py': SystemExit: 0"),
        ("import no_such_package", "no_such_package"),
        ("raise GeneratorExit", "mine.py': GeneratorExit"),
        (PREDICTOR.replace("Params(PredictorParams)", "Params"), "its Params are no prefetch_sim"),
    ],
)
def test_what_is_no_policy_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    done = run_cli("check", tmp_path / "mine.py")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not done.out


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("no/such/file.py", "no such file"),
        ("lru2", "did you mean 'lru'?"),
        ("no.such.module", "no such module"),
        ("os.path", "is no policy"),
    ],
)
def test_what_is_not_there(policy: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(policy)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "misses"}, "'lru' is an eviction policy, not a miss policy"),
        ({"params": {"a": 1}}, "'lru' is an eviction policy, which has no parameters: a"),
        ({"params": [1]}, "params: give a mapping, not"),
        ({"kind": 3}, "kind 3 is no kind of policy"),
    ],
)
def test_what_does_not_go_with_a_policy(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check("lru", **given)


def test_built_in_policies_by_name_and_import_path() -> None:
    assert check("lru").kind == "eviction"
    assert check("prefetch_sim.sim.misses.cpu").held
    assert check("oracle", params={"recall": 0.8}).held  # it says that it looks ahead
    with pytest.raises(ConfigError, match=r"params\.recall"):
        check("oracle", params={"recall": 80})
    assert run_cli("check", "previous-token", "--set", "distance=2").code == 0


def always(said: list[int], routed: Any, layer: int) -> list[int]:
    """It says the same of each layer."""
    return said


def test_python_objects() -> None:
    space: dict[str, Any] = {"__name__": "mine"}
    exec(PREFETCH, space)
    assert check(space["propose"]).kind == "prefetch"
    broken = check(lambda routed, layer: [0, 0])
    assert broken.kind == "predictors"
    assert not broken.held
    assert "one expert twice" in broken._repr_html_()
    assert check(partial(always, [0])).held
    with pytest.raises(ConfigError, match="takes 1 arguments"):
        check(lambda x: x)
    assert prefetch_sim.check is check


def test_a_class_is_one_cache_s_memory() -> None:
    class Shared:
        """What is shared by all caches, as it should not be."""

        uses: dict[int, int] = {}  # noqa: RUF012 - that is the mistake

        def inserted(self, x: int, now: int) -> int:
            return self.uses.get(x, 0)

        def used(self, x: int, now: int, score: int) -> int:
            self.uses[x] = self.uses.get(x, 0) + 1
            return self.uses[x]

    class Own(Shared):
        """What one cache remembers."""

        def __init__(self) -> None:
            self.uses = {}

    assert check(Own).held
    broken = [v.rule for v in check(Shared).verdicts if not v.held]
    assert any("of one cache" in rule for rule in broken)


def test_a_file_in_a_package(tmp_path: Path) -> None:
    folder = tmp_path / "own_package_of_policies"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "shared.py").write_text("def last(now):\n    return -now\n")
    text = EVICTION.replace("-now", "last(now)").replace(
        "\n\n\ndef inserted", "\n\nfrom .shared import last\n\n\ndef inserted"
    )
    (folder / "mine.py").write_text(textwrap.dedent(text))
    assert check(folder / "mine.py").held
