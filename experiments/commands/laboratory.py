"""``prefetch-sim trace train`` and ``predict``: the predictor laboratory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefetch_sim.experiments.commands.run import place

if TYPE_CHECKING:
    from prefetch_sim.traces.lab.card import Card
    from prefetch_sim.traces.lab.trained import Speaker
    from prefetch_sim.traces.trace import Trace

NEEDS = ("torch", "transformers")


def train(
    file: Annotated[
        str, typer.Argument(metavar="TRACE", help="Captured with --states, for networks.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", parser=place, metavar="DIR", help="One folder each in it."),
    ],
    predictor: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND[:DISTANCE]", help="What to train.", show_default="all kinds"),
    ] = None,
    arch: Annotated[str, typer.Option(help="arch1, arch2, linear or gate.")] = "arch2",
    loss: Annotated[
        str, typer.Option(help="mse, weighted-bce, focal, ranking-bce or kl.")
    ] = "weighted-bce",
    hidden: Annotated[
        int,
        typer.Option(min=1, max=1 << 16, help="Width of the hidden layer; the paper's is 2,048."),
    ] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training rows.")] = 5,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Of weights and order.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Train predictors on a captured trace; 20 % of its documents are held out."""
    from prefetch_sim.experiments.output import check_folder, need_extra, stopping
    from prefetch_sim.experiments.text import count

    with need_extra("capture", *NEEDS):
        from prefetch_sim.traces.capture.models import check_device
    from prefetch_sim.sim.setup.traces import trace_path
    from prefetch_sim.traces.format import read_trace

    check_folder("--out", out)
    check_device(device)
    plans = [_plan(text, arch, loss, hidden, epochs, seed) for text in predictor or _every()]
    found = read_trace(trace_path(file))
    _tell_unfinished(file, found)
    done = 0

    def kept() -> str:
        return f"stopped: {done} of {count(len(plans), 'predictor')} kept; run again to go on"

    with stopping(kept):
        for kind, distance, plan in plans:
            _train(found, out, kind, distance, plan, device)
            done += 1


def _train(found: Trace, out: Path, kind: str, distance: int, plan: Any, device: str) -> None:
    """Train one predictor into a folder of ``out``, unless it is there, and say how good it is."""
    import numpy as np

    from prefetch_sim.experiments.output import progress
    from prefetch_sim.experiments.text import count, percent
    from prefetch_sim.traces.lab.card import document_numbers
    from prefetch_sim.traces.lab.inference import READS
    from prefetch_sim.traces.lab.neural import train as train_network
    from prefetch_sim.traces.lab.trained import train_counting

    name = plan.name if plan is not None else kind if not distance else f"{kind}-{distance}"
    folder = out / name
    if _there(folder, found, plan):
        print(f"{folder}: there already")
        return
    with progress(name, "epoch") as advance:
        if kind in READS:
            card = train_network(found, folder, plan, device, advance)
        else:
            card = train_counting(found, folder, kind, distance)
    recall, error = card.slot_recall, card.calibration_error
    notes = "" if recall is None else f", held-out slot recall {percent(recall)}"
    notes += "" if error is None else f", calibration error {percent(error)}"
    total, saw = len(np.unique(document_numbers(found))), len(card.documents)
    print(f"{folder}: {saw} of {count(total, 'document')} ({total - saw} held out){notes}")


def predict(
    file: Annotated[str, typer.Argument(metavar="TRACE", help="A trace of the same model.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The trace to write.")],
    predictor: Annotated[
        list[str],
        typer.Option(
            metavar="DIR|FAR+NEAR|FAR,NEAR",
            help="A trained one; two with '+' averaged, with ',' their union.",
        ),
    ],
    extra: Annotated[
        int | None,
        typer.Option(min=0, help="Named beyond top-k.", show_default="k / 2"),
    ] = None,
) -> None:
    """Write the trace again with the outputs of predictors beside the routing."""
    from prefetch_sim.experiments.output import check_target, need_extra, stopping

    with need_extra("capture", *NEEDS):
        from prefetch_sim.traces.lab import trained  # noqa: F401 - missing, it is said at once
    from prefetch_sim.sim.setup.traces import trace_path

    source = trace_path(file)
    check_target("--out", out, source, new=True)
    with stopping(lambda: f"stopped: {out} is not written; run again to begin anew"):
        _speak(file, source, out, [_speaker(text) for text in predictor], extra)


def _speak(
    file: str, source: Path, out: Path, speakers: Sequence[Speaker], extra: int | None
) -> None:
    """Write the trace ``source``, called ``file``, to ``out`` with what ``speakers`` say of it."""
    from dataclasses import replace

    from prefetch_sim.experiments.text import count
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.traces.format import read_trace, write_trace
    from prefetch_sim.traces.lab.trained import predict as say
    from prefetch_sim.traces.states import states_copied

    found = read_trace(source)
    _tell_unfinished(file, found)
    named = found.model.named(extra)
    spoken = dict(found.predictions)
    for speaker in speakers:
        if speaker.name in spoken:
            raise ConfigError(f"--predictor: {file} has a prediction {speaker.name!r} already")
        said = spoken[speaker.name] = say(found, speaker, named)
        heard = int((said.experts[:, -1, 0] >= 0).sum())
        if heard < found.tokens:
            print(
                f"{speaker.name}: {count(found.tokens - heard, 'token')} left out, of documents "
                "it was trained on"
            )
    info = {name: prediction.info for name, prediction in spoken.items()}
    recorded = states_copied(found.meta.recorded, file)
    meta = found.meta.model_copy(update={"predictions": info, "recorded": recorded})
    write_trace(out, replace(found, meta=meta, predictions=spoken))
    print(f"{out}: {count(found.tokens, 'token')}, {count(len(spoken), 'predictor')}")


def _tell_unfinished(file: str, found: Trace) -> None:
    from prefetch_sim.experiments.output import say

    if found.missing:
        say(f"{file}: of an unfinished capture: {found.missing:,} requests are missing")


def _every() -> list[str]:
    from prefetch_sim.traces.lab.counts import KINDS
    from prefetch_sim.traces.lab.inference import READS

    return [*READS, *KINDS]


def _plan(
    text: str, arch: str, loss: str, hidden: int, epochs: int, seed: int
) -> tuple[str, int, Any]:
    """Kind, distance and, for a network, how it is trained."""
    from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
    from prefetch_sim.traces.lab.counts import KINDS
    from prefetch_sim.traces.lab.inference import READS
    from prefetch_sim.traces.lab.losses import LOSSES
    from prefetch_sim.traces.lab.neural import NEAREST, Plan

    kind, _, given = text.partition(":")
    if kind not in {*READS, *KINDS}:
        raise ConfigError(f"--predictor: {kind!r}{did_you_mean(kind, [*READS, *KINDS])}")
    if given and not given.isdecimal():
        raise ConfigError(f"--predictor {text}: the distance is a number of layers")
    distance = int(given) if given else NEAREST.get(kind, 0)
    if distance < NEAREST.get(kind, 0):
        raise ConfigError(f"--predictor {text}: {kind} speaks of layer {NEAREST[kind]} at nearest")
    if kind not in READS:
        if distance and not KINDS[kind].any_distance:
            raise ConfigError(f"--predictor {text}: {kind} reads the layer before: no distance")
        return kind, distance, None
    shapes = ("arch1", "arch2", "linear", "gate")
    if arch not in shapes:
        raise ConfigError(f"--arch: {arch!r}{did_you_mean(arch, shapes)}")
    if loss not in LOSSES:
        raise ConfigError(f"--loss: {loss!r}{did_you_mean(loss, LOSSES)}")
    plan: Any = Plan(kind, distance, arch, loss, hidden, epochs, seed=seed)  # type: ignore[arg-type]
    return kind, distance, plan


def _there(folder: Path, found: Trace, plan: Any) -> bool:
    """Whether the same predictor is in ``folder`` already. Raises ConfigError for another one."""
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.traces.lab.card import CARD, data_digest, learned, read_card

    if not (folder / CARD).exists():
        return False
    card: Card = read_card(folder)
    card.check_trace(found)
    share = 1.0 if plan is None else plan.share
    if card.documents != learned(found, share):
        raise ConfigError(f"{folder}: holds a predictor trained on other documents")
    if card.settings.get("data") != data_digest(found):
        raise ConfigError(f"{folder}: holds a predictor trained on other data")
    if plan is not None and any(
        card.settings[k] != getattr(plan, k) for k in card.settings if hasattr(plan, k)
    ):
        raise ConfigError(f"{folder}: holds a predictor trained with other settings")
    return True


def _speaker(text: str) -> Speaker:
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.traces.capture.predictors import UNTRAINED
    from prefetch_sim.traces.lab.hybrid import Hybrid
    from prefetch_sim.traces.lab.trained import load_predictor

    for sign, how in (("+", "average"), (",", "union")):
        if sign in text and not Path(text).is_dir():  # a folder's name may hold either
            far, near = (load_predictor(part) for part in text.split(sign, 1))
            return Hybrid(far, near, how)  # type: ignore[arg-type]
    if text.partition(":")[0] in UNTRAINED and not Path(text).is_dir():
        raise ConfigError(
            f"--predictor {text}: a gate speaks while the model runs: record it with "
            f"'trace capture --predictor {text}'"
        )
    return load_predictor(text)
