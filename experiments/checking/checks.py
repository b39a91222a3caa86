"""Tries a policy against the contract of its kind: a file, an import path or a Python object."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from pydantic import ValidationError

from prefetch_sim.experiments.api import html
from prefetch_sim.experiments.api.given import need
from prefetch_sim.experiments.api.modules import is_function, name_of
from prefetch_sim.experiments.checking import eviction, hooks, misses, predictor, prefetch
from prefetch_sim.experiments.checking.rules import BrokenRuleError, says
from prefetch_sim.experiments.text import one_line
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
from prefetch_sim.sim.config.foreign import BrokenContractError, file_meant, find_module, traced
from prefetch_sim.sim.config.source import class_meant, hint, meant_by
from prefetch_sim.sim.predictors.base import Predictor
from prefetch_sim.sim.setup.predictors import params_of
from prefetch_sim.traces.errors import describe

KINDS = tuple(registry.CONTRACTS)
RULES: dict[str, tuple[Callable[..., None], ...]] = {
    "eviction": eviction.RULES,
    "prefetch": prefetch.RULES,
    "misses": misses.RULES,
    "predictors": predictor.RULES,  # which take the predictor's parameters too
}
_PARAMETERS = {9: "prefetch", 5: "misses", 2: "predictors"}  # of one function, by how many
BASE = "prefetch_sim.sim.predictors.base"
_PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Verdict:
    """One rule of a contract: kept, broken with a ``counterexample``, or not ``tried``."""

    rule: str
    counterexample: str | None = None
    tried: bool = True

    @property
    def held(self) -> bool:
        return self.tried and self.counterexample is None

    @property
    def word(self) -> str:
        """``kept``, ``broken`` or ``not tried``."""
        return "not tried" if not self.tried else "kept" if self.held else "broken"


@dataclass(frozen=True, repr=False)
class Checked:
    """What became of a policy: its kind, and each rule of that contract."""

    name: str
    kind: str  # a key of registry.CONTRACTS
    verdicts: tuple[Verdict, ...]
    hooks: tuple[str, ...] = ()  # its functions that are called
    doubts: tuple[str, ...] = ()  # names that were probably meant as one, a line each

    @property
    def held(self) -> bool:
        """Whether every rule is kept."""
        return all(verdict.held for verdict in self.verdicts)

    @property
    def title(self) -> str:
        words = [verdict.word for verdict in self.verdicts]
        untried = words.count("not tried")
        kept = f"{words.count('kept')} of {len(words)} rules kept"
        more = f", {untried} not tried" if untried else ""
        return f"{self.name}: {_a(self.kind)}, {kept}{more}"

    def __repr__(self) -> str:
        return f"<Checked {self.title}>"

    def __str__(self) -> str:
        broken = [verdict for verdict in self.verdicts if verdict.word == "broken"]
        lines = [f"broken: {verdict.rule}\n  {verdict.counterexample}" for verdict in broken]
        return "\n".join([self.title, *lines, *self.doubts])

    def _repr_html_(self) -> str:
        rows = [
            [verdict.word, verdict.rule, verdict.counterexample or ""] for verdict in self.verdicts
        ]
        return html.block(self.title, [html.table(["", "rule", "counterexample"], rows, right=0)])


def _a(kind: str) -> str:
    what = registry.words(kind)
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def check(
    policy: Any, *, kind: str | None = None, params: Mapping[str, Any] | None = None
) -> Checked:
    """Try a policy against its contract.

    ``policy``: a Python file, an import path, a built-in name, or a function, class, object or
    module. ``kind``: eviction, prefetch, misses or predictors, where what it has does not say.
    ``params``: of a predictor, its keys in the config. ``policy`` may be what a config has, too:
    ``{"name": mine, "trigger": "routed"}``. Raises ConfigError for what is no policy.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind {kind!r} is no kind of policy{did_you_mean(str(kind), KINDS)}")
    need(isinstance(params, Mapping | None), "params", "a mapping", params)
    if isinstance(policy, Mapping):
        need("name" in policy, "policy", "one, or a mapping with its name", policy)
        params = {key: value for key, value in policy.items() if key != "name"} | dict(params or {})
        policy = policy["name"]
    if isinstance(policy, str | os.PathLike):
        name = os.fspath(policy)
        kind = _kind_of_name(name, kind)
    else:
        kind = kind or _kind_of(policy)
        name = name_of(kind, policy)
    if params and kind != "predictors":
        raise ConfigError(f"{name!r} is {_a(kind)}, which has no parameters: {next(iter(params))}")
    verdicts = tuple(_verdicts(name, kind, params or {}))
    module = registry.find(kind, name)
    return Checked(
        name, kind, verdicts, hooks.found(module, kind), hooks.never_called(module, kind)
    )


def _kind_of_name(name: str, kind: str | None) -> str:
    """The kind of a file, an import path or a built-in name."""
    of = [one for one in ([kind] if kind else KINDS) if name in registry.names(one)]
    if not of and "." not in name:
        for one in KINDS:
            if name in registry.names(one):
                raise ConfigError(f"{name!r} is {_a(one)}, not {_a(kind or one)}")
        known = [known for one in KINDS for known in registry.names(one)]
        near = file_meant(name) or did_you_mean(name, known)
        raise ConfigError(f"no file, import path or policy {name!r}{near}")
    return kind or (of[0] if of else _kind_of(find_module(name, "policy", ()), name))


def _kind_of(policy: Any, name: str | None = None) -> str:
    """The kind of a Python object, by what it has; ``name``: its file's. Raises ConfigError."""
    name = name or getattr(policy, "__name__", type(policy).__name__)
    if is_function(policy):
        try:
            required, taken = _arguments(inspect.signature(policy))
        except (TypeError, ValueError):  # of one that is not written in Python
            raise ConfigError(f"{name!r} is no policy: its arguments cannot be told") from None
        for count in (required, taken):
            if count in _PARAMETERS:
                return _PARAMETERS[count]
        raise ConfigError(
            f"{name!r} is no policy: it takes {required} arguments, and one function that is one "
            "takes 9 (prefetch: propose), 5 (misses: plan) or 2 (a predictor)"
        )
    if issubclass(policy if inspect.isclass(policy) else type(policy), Predictor):
        return "predictors"
    for enough in (all, any):  # one that lacks something is told what
        for kind, needed in registry.CONTRACTS.items():
            if enough(callable(getattr(policy, one, None)) for one in needed):
                return kind
    needs = "; ".join(
        f"{registry.words(kind)}: {' and '.join(needed)}"
        for kind, needed in registry.CONTRACTS.items()
    )
    raise ConfigError(
        f"{name!r} is no policy: it has the functions of none ({needs}){_meant(policy)}"
    )


def _meant(policy: Any) -> str:
    """What was probably meant by one that has the functions of no kind."""
    if inspect.ismodule(policy):
        classes = {
            name: dir(one)
            for name, one in vars(policy).items()
            if inspect.isclass(one) and one.__module__ == policy.__name__
        }
        for needed in registry.CONTRACTS.values():
            if found := class_meant(needed, classes):
                return found
    asked = (one for needed in registry.CONTRACTS.values() for one in needed)
    return meant_by(asked, dir(policy))


def _arguments(signature: inspect.Signature) -> tuple[int, int]:
    """How many arguments by place a function needs, and how many it takes."""
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    taken = [one for one in signature.parameters.values() if one.kind in by_place]
    return sum(one.default is one.empty for one in taken), len(taken)


def _verdicts(name: str, kind: str, params: Mapping[str, Any]) -> Iterator[Verdict]:
    module, keys = registry.find(kind, name), {}
    if kind == "predictors":
        parameters = params_of(module, name)
        if not (isinstance(module.Predictor, type) and issubclass(module.Predictor, Predictor)):
            raise ConfigError(
                f"{name!r}: its Predictor inherits neither Predictor nor Online ({BASE})"
            )
        try:
            parameters.model_validate(dict(params))
        except ValidationError as error:
            raise ConfigError(describe(error, parameters, "params")) from error
        keys["params"] = params
    found: list[str | None] = []  # the counterexamples
    for rule in RULES[kind]:
        # A file's module is another for each rule: the others' lives are not in its memory.
        module = registry.find(kind, name)
        found.append(_counterexample(partial(rule, **keys), module))
        if found[0] is not None:  # of what its functions take
            break
    yield from _in_turn(RULES[kind], found)


def _in_turn(rules: tuple[Callable[..., None], ...], found: list[str | None]) -> Iterator[Verdict]:
    """A verdict of each rule; one counterexample is told once, by the rule that it is of.

    What outlives a run is tried before answers are, and told behind them: a wrong one breaks both.
    """
    first: str | None = None
    turns = list(range(len(rules)))
    turns[1:3] = turns[1:3][::-1]
    for turn in turns:
        tried = turn < len(found)
        example = found[turn] if tried else None
        again = example is not None and example == first
        yield Verdict(says(rules[turn]), "as above" if again else example, tried)
        first = first or example


def _counterexample(rule: Callable[[ModuleType], None], module: ModuleType) -> str | None:
    try:
        rule(module)
    except BrokenRuleError as broken:
        return one_line(str(broken))
    except BrokenContractError as broken:  # of a rule that runs hold it to, too
        return one_line(broken.said)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a policy may raise GeneratorExit, say
        return one_line(_told(error, module))
    return None


def _told(error: BaseException, module: ModuleType) -> str:
    """An exception of the policy: what, and where in its file, or else near it."""
    said = f"{type(error).__name__}: {error}"
    steps = list(traced(error))
    own = [step for step in steps if _PACKAGE not in Path(_file(step)).resolve().parents]
    mine = [step for step in own if _file(step) == getattr(module, "__file__", None)]
    for step in (mine or own or steps)[-1:]:
        return f"{said}{hint(error, step, module)} ({_file(step)}, line {step.tb_lineno})"
    return said


def _file(step: TracebackType) -> str:
    return step.tb_frame.f_code.co_filename
