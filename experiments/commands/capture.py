"""``prefetch-sim trace capture``: routing of a real model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefetch_sim.experiments.commands.run import place

if TYPE_CHECKING:
    from prefetch_sim.traces.capture.session import Overhead

LEAST_TEMPERATURE = 1e-3  # below it chances overflow


def capture(
    model: Annotated[str, typer.Option(metavar="PATH_OR_ID", help="A model folder or hub id.")],
    prompts: Annotated[
        Path,
        typer.Option(
            metavar="FILE.jsonl",
            help='Lines of {"prompt": "words"}, or with "text", "messages" or "tokens" instead.',
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", parser=place, metavar="OUT", help="A folder, or one .parquet file."
        ),
    ],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of each request.")] = 64,
    batch_size: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 8,
    temperature: Annotated[float, typer.Option(min=0, help="0: the likeliest token.")] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, max=2**62, help="Of the draws, where temperature is not 0.")
    ] = 0,
    states: Annotated[
        bool, typer.Option("--states", help="Keep what routers and predictors read, as float16.")
    ] = False,
    logits: Annotated[
        bool, typer.Option("--logits", help="Keep the router's score of every expert.")
    ] = False,
    timing: Annotated[
        bool, typer.Option("--timing", help="Time attention, gate and experts of every layer.")
    ] = False,
    predictor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|next-gate[:D]|early-gate|own-gate",
            help="Record its output too: a trained one, or a layer's gate on an earlier input.",
        ),
    ] = None,
    extra: Annotated[
        int | None,
        typer.Option(min=0, help="Named beyond top-k.", show_default="k / 2"),
    ] = None,
) -> None:
    """Record routing while a Hugging Face model generates. Run again, it goes on."""
    from prefetch_sim.experiments.output import need_extra, progress, say, stopping
    from prefetch_sim.experiments.text import count
    from prefetch_sim.sim.config.errors import ConfigError

    with need_extra("capture", "torch", "transformers"):
        from prefetch_sim.traces.capture import session
        from prefetch_sim.traces.capture.models import load_model
        from prefetch_sim.traces.capture.predictors import live_predictors
        from prefetch_sim.traces.capture.prompts import read_prompts
        from prefetch_sim.traces.capture.session import Settings
    if 0 < temperature < LEAST_TEMPERATURE:
        raise ConfigError(
            f"--temperature {temperature:g}: below {LEAST_TEMPERATURE}; 0 takes the likeliest token"
        )
    settings = Settings(
        max_new_tokens, batch_size, temperature, seed, states=states, logits=logits, timing=timing
    )
    wanted = len(read_prompts(prompts))  # before the model, which may take minutes to load
    folder = session.parts_folder(out, settings)

    def done() -> int:
        return session.kept(folder if folder.exists() else out)

    def kept() -> str:
        some = done()
        how = f"{some:,} of {count(wanted, 'request')}" if some else "no request is"
        return f"stopped: {how} kept; run the same command again to go on with {out}"

    before = done()
    with stopping(kept):
        loaded = load_model(model, device)
        if loaded.inferred:
            say(
                f"{loaded.spec.name}: its shape, which costs follow from, is taken from its modules"
            )
        named = live_predictors(loaded, predictor or [], extra)
        with progress("capturing", "request") as advance:
            found = session.capture(loaded, prompts, out, settings, named, advance)
    there = "finished already, " if before == wanted else ""
    print(f"{out}: {there}{count(len(found.requests), 'request')}, {count(found.tokens, 'token')}")
    if timing:
        _print_timing(out)
    if max_new_tokens > 1:
        with stopping(lambda: f"stopped: {out} is whole; what recording costs is not measured"):
            overhead = session.measure_overhead(loaded, prompts, settings, named)
        _print_overhead(overhead, min(batch_size, len(found.requests)))


def _print_overhead(found: Overhead, together: int) -> None:
    """What recording costs, of decoding so many requests ``together``."""
    from prefetch_sim.experiments.text import count, percent

    # Recording makes nothing faster: more than all of it is noise.
    noise = "" if found.ratio <= 1 else ", as far as so short a run can tell"
    print(
        f"decode, {count(together, 'request')} at once: {found.tokens_per_second:,.0f} tokens/s "
        f"with all of it recorded, {percent(min(found.ratio, 1))} of the rate without{noise}; "
        "writing apart"
    )


def _print_timing(folder: Path) -> None:
    """Medians over layers and passes, for a first look; the record has every one."""
    import pandas as pd

    from prefetch_sim.experiments.output import console, grid
    from prefetch_sim.experiments.text import number

    files = sorted(folder.glob("timing-*.parquet"))
    if not files:  # the capture was finished, without --timing
        return
    frame = pd.concat([pd.read_parquet(path) for path in files])
    table = grid("us a layer, median", "attention", "gate", "experts", "passes", right=4)
    for prefill, rows in frame.groupby("prefill"):
        medians = rows[["attention_us", "gate_us", "experts_us"]].median()
        passes = len(rows) // (rows["layer"].max() + 1)
        table.add_row("prefill" if prefill else "decode", *map(number, medians), str(passes))
    console().print(table)
