"""A question with everything that it left open settled: model, weights, machine and engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefetch_sim.experiments.advising import formats, known
from prefetch_sim.experiments.advising import machine as machines
from prefetch_sim.experiments.advising.machine import Machine, Taken
from prefetch_sim.experiments.advising.placements import Place
from prefetch_sim.experiments.advising.question import Question
from prefetch_sim.hardware_profiles import (
    Chip,
    HardwareProfile,
    ProfileError,
    RuntimeProfile,
    load_runtime,
    runtime_name,
)
from prefetch_sim.sim.config.files import Tree, parse
from prefetch_sim.sim.config.models import ModelError, load_model
from prefetch_sim.sim.cost.reserve import Reserve, reserve
from prefetch_sim.sim.setup.traces import load_workload
from prefetch_sim.traces.models import catalogue
from prefetch_sim.traces.models.precision import NAMES, Precision
from prefetch_sim.traces.models.spec import ModelSpec

_FROM_DRIVE: dict[Chip | None, str] = {"apple": "mlx-stream", "cpu": "big-moe-on-edge"}
USUAL = "llama.cpp"


@dataclass(frozen=True)
class Situation:
    question: Question
    machine: Machine
    place: Place
    precision: Precision
    runtime: str  # a name of the list, or a file
    taken: tuple[Taken, ...]

    @property
    def known(self) -> known.Figures:
        """What is known of the engine here, where experts are split."""
        place = self.place
        return known.figures(place.runtime.name, place.profile.chip, place.model.name)

    def tree(self, *, whole: bool) -> Tree:
        """Of a config, all but how experts are placed, and routing."""
        stored = as_written(self.precision)
        return {
            "name": "advise",
            "model": self.place.name,
            **({"precision": stored} if stored else {}),
            "hardware": self.machine.hardware,
            "runtime": self.runtime if whole else known.tree(self.runtime, self.known),
            "context": self.question.context,
        }

    def with_runtime(self, name: str) -> Situation:
        """The same with another engine, by name or file."""
        runtime, model = load_runtime(name), self.place.model
        stored = self.precision
        if self.question.quant is None:
            stored, _ = _stored(self.question, model, runtime.name)
        sizes = model.bytes_per_expert(stored)
        place = replace(self.place, runtime=runtime, sizes=sizes)
        found = replace(self, runtime=name, precision=stored, place=place)
        return found.with_context(self.question.context)

    def chosen_anew(self) -> Situation:
        """The same with the engine that is usual there, where none was asked for."""
        if self.question.runtime is not None:
            return self
        return _usual_runtime(self.with_runtime(USUAL))[0]

    def runs(self, name: str) -> bool | None:
        """Whether another engine does; None where the machine does not say its chip."""
        return load_runtime(name).known_to_run_on(self.place.profile.chip)

    def with_context(self, tokens: int) -> Situation:
        """The same with a KV cache of so many tokens."""
        place = self.place
        beside = _beside(place.name, place.model, self.precision, place.runtime, tokens)
        return replace(self, place=replace(place, beside=beside))

    def with_memory(self, more_gib: float) -> Situation:
        """The same with so much more memory on the accelerator."""
        profile = self.place.profile
        size = round(profile.compute.memory_gib.value + more_gib, 3)
        hardware: dict[str, Any] = dict(self.machine.hardware)
        hardware["compute"] = {**hardware.get("compute", {}), "memory_gib": size}
        figure = profile.compute.memory_gib.model_copy(update={"value": size})
        compute = profile.compute.model_copy(update={"memory_gib": figure})
        larger = profile.model_copy(update={"compute": compute})
        return replace(
            self,
            machine=self.machine._replace(hardware=hardware, profile=larger),
            place=replace(self.place, profile=larger),
        )

    def with_host(self, gib: float) -> Situation:
        """The same with so much host memory. Only of a machine with two memories."""
        profile = self.place.profile
        assert profile.host is not None
        figure = profile.host.memory_gib.model_copy(update={"value": gib})
        host = profile.host.model_copy(update={"memory_gib": figure})
        larger = profile.model_copy(update={"host": host})
        hardware = {**self.machine.hardware, "host": {"memory_gib": gib}}
        nbytes = machines.host_usable(gib * machines.GIB)
        return replace(
            self,
            machine=self.machine._replace(hardware=hardware, profile=larger, host_bytes=nbytes),
            place=replace(self.place, profile=larger, host_bytes=nbytes),
        )


def settle(question: Question, look: Callable[[], machines.Here] = machines.here) -> Situation:
    """Settle ``question``. Raises ConfigError or ProfileError with the nearest name."""
    machine = machines.find(question, look)
    model = _model(question)
    name = _model_name(question.model)
    taken = [*machine.taken, Taken("model", name, "said")]
    if (first := question.n_cpu_moe) is not None and first > model.layers:
        taken.append(Taken("n-cpu-moe", str(model.layers), "assumed", f"all layers, for {first}"))
    runtime = question.runtime or USUAL
    if not runtime.endswith((".yaml", ".yml")):
        runtime = runtime_name(runtime)
    engine = load_runtime(runtime)
    _runs(engine, machine.profile)
    stored, _ = _stored(question, model, engine.name)
    beside = _beside(name, model, stored, engine, question.context)
    sizes = model.bytes_per_expert(stored)
    place = Place(name, model, machine.profile, engine, beside, sizes, machine.host_bytes)
    found = Situation(question, machine, place, stored, runtime, ())
    why_engine = ""
    if question.runtime is None:
        found, why_engine = _usual_runtime(found)
    formats.check(found.place.runtime.name, question.quant)
    for what, value, given, why in (
        (
            "quant",
            _shown(found.precision),
            question.quant,
            _stored(question, model, found.place.runtime.name)[1],
        ),
        ("runtime", found.place.runtime.name, question.runtime, why_engine),
    ):
        taken.append(Taken(what, value, "assumed" if given is None else "said", why))
    return replace(found, taken=tuple(taken))


def _runs(engine: RuntimeProfile, profile: HardwareProfile) -> None:
    """Raises ProfileError where the engine is not built for that machine's chip."""
    if engine.runs_on is not None and engine.known_to_run_on(profile.chip) is False:
        raise ProfileError(
            f"runtime: {engine.name} runs on {', '.join(engine.runs_on.chips)}, and "
            f"{profile.name} is {profile.chip}"
        )


def _model(question: Question) -> ModelSpec:
    """Raises ModelError: one that is in no list may have no experts at all."""
    try:
        return load_model(question.model, question.quant)
    except ModelError as error:
        said = str(error)
        if "did you mean" not in said:
            raise
        near = re.search(r"did you mean '([a-z]*)", said)
        asked = question.model.rpartition("/")[2].lower()
        if near is None or not asked.startswith(near[1]):  # of another family
            said = re.sub(r"; did you mean '[^']*'\?", "", said)
        raise ModelError(f"{said}; only models with experts (MoE) are known") from None


def _model_name(text: str) -> str:
    """The catalogue's name of a model that is there, or its file by its whole path."""
    if text not in catalogue.names() and Path(text).exists():
        return str(Path(text).resolve())
    return catalogue.model_name(text)


def _beside(
    name: str, model: ModelSpec, stored: Precision, engine: RuntimeProfile, context: int
) -> Reserve:
    """What is in memory beside experts, for one request."""
    trace = {"synthetic": name, "requests": 1, "prompt": 1, "decode": 1}
    config = parse({"trace": trace, "precision": stored}, "advise")
    return reserve(model, load_workload(config), stored, engine, context)


def _stored(question: Question, model: ModelSpec, engine: str) -> tuple[Precision, str]:
    """How weights are stored in what the engine reads, and why that is so."""
    asked = question.quant
    if asked is not None:  # llama.cpp's files of mxfp4 have no other weights in 16 bits
        if engine == "llama.cpp" and asked == Precision.of("mxfp4"):
            return Precision.of("MXFP4_MOE"), "mxfp4 in a GGUF file"
        return asked, ""
    return formats.usual(engine, model.precision.experts)


def from_drive(chip: Chip | None) -> str | None:
    """The engine that streams experts from the drive: on Macs, and where the CPU computes."""
    return _FROM_DRIVE.get(chip)


def _usual_runtime(found: Situation) -> tuple[Situation, str]:
    """The engine that is usual there, and why; ``found`` has what is usual elsewhere."""
    place, asked = found.place, found.question.quant
    if not place.profile.unified_memory:
        return found, "what most people run"
    streams = from_drive(place.profile.chip)
    if place.room >= place.everything:
        refused = formats.refusal(place.runtime.name, asked)
        if refused and streams and not formats.refusal(streams, asked):
            return found.with_runtime(streams), f"as {refused.partition(':')[0]}"
        return found, "what most people run"
    if streams is None:
        return found, "reading what memory lacks off the drive"
    return found.with_runtime(streams), "as it streams experts from the drive"


def _shown(stored: Precision) -> str:
    written = as_written(stored)
    if isinstance(written, str):
        return written
    return ", ".join(f"{part} {name}" for part, name in written.items()) or "as published"


def as_written(stored: Precision) -> str | dict[str, str]:
    """One name where that says it all, else parts by name."""
    same = [name for name in NAMES if Precision.of(name) == stored]
    return same[0] if same else stored.model_dump(exclude_none=True)
