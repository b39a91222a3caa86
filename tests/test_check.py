"""``prefetch-sim check``: each kind of policy, kept and broken rules, and what is no policy."""

from __future__ import annotations

import json
import re
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_support import run_cli

import prefetch_sim
from prefetch_sim.experiments.checking import checks, hooks, rules
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
        "where a score, a whole number, is expected",
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
    (
        "eviction",
        "return -now\n\n\n",
        "return 10**30\n\n\n",
        "Both engines",
        "has 64 bits for a sc",
    ),
    ("prefetch", "seen[x] != stamp", "True", "It proposes some", "twice"),
    ("prefetch", "= stamp", "= 1", "A call says the same", "after others"),
    ("prefetch", "priority[n] = 0", "priority[n] = -n", "Priorities are", "priority[1], behind 0"),
    ("misses", "for i", "raise GeneratorExit\n    for i", "It writes 0 or 1", "GeneratorExit"),
    ("misses", "i % 2", "i", "It writes 0 or 1", "plan wrote 2 to chosen[2]"),
    ("misses", "range(count)", "range(count + 1)", "It writes 0 or 1", "behind"),
    ("predictors", "flat[row - 1, 1:]", "flat[row, 1:]", "What is not routed yet", "other routing"),
    ("predictors", "= 0.5", "= 2.0", "Candidates are", "and not from 0 to 1"),
    ("predictors", "flat[row - 1, 1:]", "flat[row - 1, :-1]", "Candidates are", "flat ids of that"),
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
    assert "broken: " in str(broken)
    assert "one expert twice" in str(broken)
    assert check(partial(always, [0])).held
    with pytest.raises(ConfigError, match="takes 1 arguments"):
        check(lambda x: x)
    assert prefetch_sim.check is check


def test_required_arguments_alone_say_what_a_function_is() -> None:
    space: dict[str, Any] = {"__name__": "mine"}
    exec(PREFETCH.replace("priority):", "priority, cut=0.5):"), space)
    exec(MISSES.replace("chosen):", "chosen, *, every=2):"), space)
    assert check(space["propose"]).kind == "prefetch"
    assert check(partial(space["propose"], cut=0.6)).kind == "prefetch"
    assert check(space["plan"]).kind == "misses"
    assert check(lambda routed, layer=0: [layer]).kind == "predictors"
    with pytest.raises(ConfigError, match="takes 3 arguments"):
        check(lambda a, b, c, d=1, *, e=2: a)


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


# Memory that outlives its run, and fills up: an expert is new only once in a process.
LEAKS = {
    "a module's": (
        "def used(state, x, now, score):\n    return -now",
        "SEEN = set()\n\n\ndef used(state, x, now, score):\n"
        "    new = x not in SEEN\n    SEEN.add(x)\n    return now if new else -now",
    ),
    "a default's": (
        "def used(state, x, now, score):\n    return -now",
        "def used(state, x, now, score, seen=set()):\n"
        "    new = x not in seen\n    seen.add(x)\n    return now if new else -now",
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_memory_that_outlives_a_cache_is_found(leak: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(EVICTION.replace(*LEAKS[leak]))
    assert path.read_text() != EVICTION
    for _ in range(2):  # the second time no less
        broken = [v for v in check(path).verdicts if not v.held]
        assert any("of one cache" in v.rule for v in broken)
        assert any("after another cache's life" in (v.counterexample or "") for v in broken)


def test_memory_of_a_function_that_outlives_a_run_is_found() -> None:
    seen: set[int] = set()

    def mine(routed: Any, layer: int) -> list[int]:
        """The experts 0 and 1, and 2 the first time."""
        new = layer not in seen
        seen.add(layer)
        return [0, 1, 2] if new else [0, 1]

    _, _, first, *_ = check(mine).verdicts
    assert "whatever ran before" in first.rule
    assert not first.held

    def plan(
        count: int, cpu_ns: list[int], state: list[int], layer: Any, chosen: list[int]
    ) -> None:
        """The CPU, the first time that so many are missing."""
        for i in range(count):
            chosen[i] = count not in seen
        seen.add(count)

    seen.clear()
    _, _, first, *_ = check(plan).verdicts
    assert "whatever was asked before" in first.rule
    assert not first.held


def test_a_wrong_answer_breaks_the_rule_of_answers(tmp_path: Path) -> None:
    def twice(routed: Any, layer: int) -> list[int]:
        """One expert, twice."""
        return [0, 0]

    _, answers, memory, *_ = check(twice).verdicts
    assert answers.rule.startswith("Candidates are experts of the layer")
    assert answers.counterexample == "it gave one expert twice, [0, 0], of layer 1"
    assert memory.counterexample == "as above"
    path = tmp_path / "mine.py"
    path.write_text(PREFETCH.replace("    return n", "    pass"))
    first, *_ = (verdict for verdict in check(path).verdicts if not verdict.held)
    assert first.rule == "It proposes some of the candidates, each once"


def test_a_file_begins_each_run_with_an_empty_memory(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(EVICTION.replace(*LEAKS["a module's"]))
    keys = {"trace": "mini-qwen3-30b-a3b", "model": "qwen3-30b-a3b", "engine": "simpy"}
    keys |= {"requests": "0:1", "tokens": "0:48"}
    cache = {"capacity": "25%", "eviction": str(path)}
    first, again = (prefetch_sim.run(keys, cache=cache, records=False) for _ in range(2))
    assert first.tpot_ms is not None
    assert first.results == again.results


@pytest.mark.parametrize("name", ["mine", "sub/mine", "mi-ne"])
def test_a_file_named_without_its_end_is_meant(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = f"{name.replace('-', '_')}.py"
    (tmp_path / "sub").mkdir()
    (tmp_path / file).write_text(EVICTION)
    for tried in (lambda: check(name), lambda: registry.find("eviction", name)):
        with pytest.raises(ConfigError, match=f"did you mean the file '{file}'"):
            tried()


def broken_in(path: Path) -> dict[str, str]:
    """What is wrong, by the rule that is broken."""
    return {v.rule: v.counterexample for v in check(path).verdicts if v.counterexample is not None}


def test_the_places_of_shared_that_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    for place, held in ((2, False), (3, True)):
        count = f"    state.shared[{place}] += 1\n    return -now\n\n\ndef"
        path.write_text(EVICTION.replace("    return -now\n\n\ndef", count))
        found = broken_in(path)
        assert held == (not found)
        assert held or any("3 and 4 are free" in line for line in found.values())


@pytest.mark.parametrize(
    ("kind", "old", "new", "says"),
    [
        ("eviction", "now, score)", "now)", "used takes (state, x, now) and is called with"),
        ("eviction", "(state, x, now)", "(x, state, now)", "in that order"),
        ("prefetch", ", stamp, out,", ", out,", "propose takes (ids, scores, tokens, limits, resi"),
        ("misses", "layer, chosen", "layer", "plan takes (count, cpu_ns, state, layer)"),
        ("predictors", "params, context", "context, params", "Predictor takes (context, params)"),
        ("predictors", "table(self)", "table(self, workload)", "Predictor.table takes"),
    ],
)
def test_arguments_are_told_first_and_alone(
    kind: str, old: str, new: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD[kind].replace(old, new))
    (first,) = broken_in(path).values()
    assert says in first
    found = check(path)
    untried = len(checks.RULES[kind]) - 1
    assert [verdict.word for verdict in found.verdicts] == ["broken", *["not tried"] * untried]
    assert found.title.endswith(f"0 of {untried + 1} rules kept, {untried} not tried")
    assert not any(verdict.held for verdict in found.verdicts)
    end = run_cli("check", path)
    assert (end.code, end.out.count("BROKEN"), end.out.count("not tried ")) == (1, 1, untried)


def often_routed(routed: Any, layer: int) -> list[int]:
    """What the layer routed twice and more so far, of which there is more and more."""
    seen = routed[:-1, layer][routed[:-1, layer] >= 0]
    return [x for x in range(6) if (seen == x).sum() >= 2]


def test_answers_of_several_lengths_are_no_look_ahead() -> None:
    assert check(often_routed).held, str(check(often_routed))


def test_scores_that_differ_are_shown_and_no_number_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PREDICTOR.replace("= 0.5", "= np.nan"))
    (only,) = broken_in(path).values()
    assert "is nan, and not from 0 to 1" in only
    path.write_text(PREDICTOR.replace("= 0.5", "= np.random.default_rng().random()"))
    found = broken_in(path)["The same run gives the same predictions, whatever ran before"]
    assert re.search(r"it said (\[.*\]) with the scores \[0\..*\], then \[0\.", found), found


def test_without_timed_no_times_are_told_as_in_a_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PREFETCH.replace("n = 0\n", "n = 0 * (limits.lead_ns // limits.load_ns)\n", 1))
    first, *others = broken_in(path).values()
    assert first.startswith("propose reads lead_ns, which only a module")
    assert set(others) == {"as above"}
    path.write_text(path.read_text().replace("\n\n\ndef", "\n\nTIMED = True\n\n\ndef", 1))
    assert check(path).held


def test_one_error_is_told_once_and_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(EVICTION + "\n\ndef begin(state, rooms):\n    pass\n")
    first, *others = broken_in(path).values()
    assert first.startswith("begin returned None, and is to return the State")
    assert set(others) == {"as above"}
    path.write_text(PREDICTOR.replace("context.workload", "params.workload"))
    first, *others = broken_in(path).values()
    assert "no attribute 'workload'" in first
    assert f"({path}, line 18)" in first
    assert set(others) == {"as above"}


@pytest.mark.parametrize(
    ("kind", "more", "meant"),
    [
        ("eviction", "def evict(state, x, now, score):\n    pass", "evicted"),
        ("eviction", "def not_route(state, x, now, score):\n    return score", "not_routed"),
        ("eviction", "ascending = False", "ASCENDING"),
        ("prefetch", "TIMED_ = True", "TIMED"),
        ("predictors", "    triggers = 'routed'", "trigger"),
    ],
)
def test_a_name_that_nothing_calls(kind: str, more: str, meant: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{GOOD[kind]}\n{more}\n")
    found = check(path)
    assert found.held
    (line,) = found.doubts
    assert f"did you mean {meant!r}?" in line
    assert meant not in found.hooks


@pytest.mark.parametrize(
    ("kind", "meant", "by"),
    [
        ("eviction", "inserted", "insert"),
        ("eviction", "used", "use"),
        ("prefetch", "propose", "proposes"),
        ("misses", "plan", "plans"),
        ("predictors", "Params", "Param"),
    ],
)
def test_a_name_that_is_nearly_one_needed(kind: str, meant: str, by: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    text = GOOD[kind]
    for word in ("def", "class"):
        text = text.replace(f"{word} {meant}(", f"{word} {by}(")
    path.write_text(text)
    said = f"did you mean {meant!r} by {by!r}?"
    for tried in (lambda: check(path), lambda: registry.find(kind, str(path))):
        with pytest.raises(ConfigError, match=re.escape(said)):
            tried()


def test_a_class_in_a_file_is_told_to_be_for_python(tmp_path: Path) -> None:
    path = tmp_path / "coldest.py"
    methods = EVICTION.replace("def ", "    def ").replace("return", "    return")
    path.write_text(
        methods.replace("\n\n\n", "\n\n\nclass Coldest:\n", 1).replace("(state", "(self")
    )
    said = "; its class 'Coldest' has: a file has functions, a class is given in Python"
    for tried in (lambda: check(path), lambda: registry.find("eviction", str(path))):
        with pytest.raises(ConfigError, match=f"^{re.escape(repr(str(path)))} is no .*{said}$"):
            tried()


def test_every_name_that_is_nearly_one_needed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(EVICTION.replace("def inserted", "def insert").replace("def used", "def use"))
    done = run_cli("check", path)
    assert done.code == 2
    assert "it has the functions of none" in done.err
    assert "; did you mean 'inserted' by 'insert'?\n" in done.err


def test_what_is_called_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(EVICTION + "\n\ndef evict(state, x, now, score):\n    pass\n")
    done = run_cli("check", path)
    assert "Called are: inserted, used" in done.out
    assert "warning: nothing reads or calls 'evict': did you mean 'evicted'?" in done.out
    for kind, names in ((k, registry.names(k)) for k in GOOD):
        for name in names:
            assert not hooks.never_called(registry.find(kind, name), kind), name


PAGE = (Path(__file__).parents[1] / "docs/adding-a-policy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", ["one_a_token.py", "last_token.py"])
def test_policies_of_the_page_keep_their_contract(file: str, tmp_path: Path) -> None:
    body = PAGE.split(f"`{file}`:\n\n```python\n")[1].partition("```")[0]
    (tmp_path / file).write_text(body)
    found = check(tmp_path / file)
    assert found.held
    assert not found.doubts
    assert found.hooks


def test_the_page_has_every_function_and_what_it_is_called_with() -> None:
    for name, told in hooks.HOOKS["eviction"].items():
        assert f"| `{name}({told})` |" in PAGE
    for told in ("plan(count, cpu_ns, state, layer, chosen)", "Predictor(params, context)"):
        assert f"`{told}`" in PAGE
    assert f"propose({hooks.HOOKS['prefetch']['propose']})" in PAGE


def test_the_page_shows_what_check_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    body = PAGE.split("`sim/eviction/most_recent.py`:\n\n```python\n")[1].partition("```")[0]
    (tmp_path / "most_recent.py").write_text(body)
    shown = PAGE.split("$ prefetch-sim check most_recent.py\n")[1].partition("```")[0]
    printed = run_cli("check", "most_recent.py").out.splitlines()
    assert [line.rstrip() for line in printed] == shown.splitlines()
