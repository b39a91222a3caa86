"""``prefetch-sim advise``: what a model would do on a machine, in ten lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prefetch_sim.experiments.advising.answer import Advice


def advise(
    model: Annotated[
        str, typer.Option(metavar="NAME", help="As Hugging Face or the catalogue has it; a file.")
    ],
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="A card, or a machine, by any name.")
    ] = None,
    ram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Host memory: 32GB, read as GiB.")
    ] = None,
    quant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the weights: Q4_K_M, mxfp4, {experts: fp8}."),
    ] = None,
    context: Annotated[
        str, typer.Option(metavar="TOKENS", help="Kept in the KV cache: 8192, 32k.")
    ] = "8192",
    runtime: Annotated[
        str | None, typer.Option(metavar="NAME", help="The serving engine: llama.cpp.")
    ] = None,
    cpu: Annotated[str | None, typer.Option(metavar="NAME", help="Computes experts.")] = None,
    drive: Annotated[str | None, typer.Option(metavar="NAME", help="Or its GB/s.")] = None,
    link: Annotated[
        str | None, typer.Option(metavar="GB/s", help="Host memory to GPU; or PCIe 4.0 x8.")
    ] = None,
    n_cpu_moe: Annotated[
        int | None,
        typer.Option("--n-cpu-moe", metavar="N", help="Ask about this split, as llama.cpp's N."),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Ask about so much for experts: 4GiB (4GB is less), 25%."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="SPEED", help="Is it reached? 20tok/s, or 50ms.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what was recommended, for prefetch-sim run."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over FILE.")] = False,
) -> None:
    """Say how fast a model would decode on a machine, how to split it, and what would help.

    What is not said is found on this machine, or assumed: the last lines say which.
    """
    from prefetch_sim.experiments.interrupts import nothing_to_keep

    with nothing_to_keep():
        from prefetch_sim.experiments.advising.advice import advise as answer
        from prefetch_sim.experiments.advising.question import Question

    _check(config, force)
    question = Question.of(
        model=model, gpu=gpu, ram=ram, quant=quant, context=context, runtime=runtime, cpu=cpu,
        drive=drive, link=link, n_cpu_moe=n_cpu_moe, cache=cache, target=target,
    )  # fmt: skip
    with _progress() as tell:
        advice = answer(question, tell)
    if config is not None:
        _write(config, advice)
    _print(advice, as_json)


def _check(config: Path | None, force: bool) -> None:
    """Raises ConfigError where nothing can, or may, be written there."""
    from prefetch_sim.experiments.output import check_target
    from prefetch_sim.sim.config.errors import ConfigError

    if config is None:
        return
    check_target("--config", config)
    if config.exists() and not force:
        raise ConfigError(f"--config: {config} exists already; --force writes over it")


def _print(advice: Advice, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from prefetch_sim.experiments.advising import words
    from prefetch_sim.experiments.output import console

    if as_json:
        print(json.dumps(asdict(advice), indent=2, allow_nan=False))
        return
    out = console()
    for line in words.text(advice, out.width).splitlines():
        out.print(line, soft_wrap=True)


_PATIENCE = 5.0  # seconds without a word in a log


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Tells of what is under way: a line that changes, or in a log one now and then."""
    from prefetch_sim.experiments.output import console, say

    out = console(stderr=True)
    if out.is_terminal:
        with out.status("reading") as status:
            yield status.update
        return
    last = time.monotonic()

    def tell(what: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _PATIENCE:
            last = time.monotonic()
            say(f"advise: {what}")

    yield tell


_ONE = "One request; to compare runs take eight or more: --set trace.requests=8"
_FULL = (
    "Prefetching was judged with a full cache, without a predictor and with one (of recall 0.6):"
)


def _write(path: Path, advice: Advice) -> None:
    import yaml

    from prefetch_sim.experiments.advising import words
    from prefetch_sim.experiments.advising.options import oracle
    from prefetch_sim.experiments.output import say
    from prefetch_sim.experiments.text import one_line
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.traces.files import replacing

    tree, filling = advice.config, advice.prefetch_sets
    if tree is None:
        raise ConfigError("--config: nothing fits, so there is nothing to run")
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    fixed = [f"{key}.capacity" for key in ("cache", "host") if _is_fixed(tree.get(key))]
    fixed += ["trace.hit_rate"] if "hit_rate" in tree["trace"] else []
    said = [one_line(words.title(advice)), _ONE]
    if filling:
        sets = " ".join(f"--set {key}={value}" for key, value in filling.items())
        foreseen = ", ".join(f"{key}: {value}" for key, value in oracle(0.6).items())
        last = filling["trace.decode"] // 2
        said += [
            _FULL,
            f"  {sets} --set 'predictor={{{foreseen}}}'",
            f"by the last {last} tokens, in Python run(...).tokens.latency_ms[-{last}:].mean();",
            "the mean of a run has those before, too, and its gain may be some points off",
        ]
    if fixed:
        said.append(f"Of these memories, so another in hardware changes none: {', '.join(fixed)}")
    head = "".join(f"# {line}\n" for line in said)
    with replacing(path) as whole:
        whole.write_text(head + text, encoding="utf-8")
    say(f"wrote {path}")


def _is_fixed(section: dict[str, Any] | None) -> bool:
    """Whether a memory holds so many bytes, however large it is."""
    return section is not None and section.get("capacity", "fill") != "fill"
