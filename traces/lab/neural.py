"""Predictors that are small networks: what they read, how they are trained, what they cost."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy.special import expit

from prefetch_sim.traces.files import replacing
from prefetch_sim.traces.lab.calibration import fit_platt, named_error, share, slot_hits, some
from prefetch_sim.traces.lab.card import (
    CARD,
    Card,
    data_digest,
    learned,
    split_rows,
    training_rows,
    weights_digest,
    write_card,
)
from prefetch_sim.traces.lab.inference import READS, WEIGHTS, levelled, state_inputs
from prefetch_sim.traces.lab.losses import LOSSES, NEEDS_LOGITS, USES_LOGITS, Target
from prefetch_sim.traces.lab.networks import Architecture, Stacked
from prefetch_sim.traces.states import States, no_states, open_states, read_gates
from prefetch_sim.traces.timing import median_us
from prefetch_sim.traces.trace import Array, PredictionInfo, Trace, TraceError

Kind = Literal["pre-attention", "cross-layer", "both-inputs"]
# When the last of what it reads is there.
TRIGGER: dict[str, Literal["layer_start", "gate_input"]] = {
    "pre-attention": "layer_start",
    "cross-layer": "gate_input",
    "both-inputs": "gate_input",
}
NEAREST = {"pre-attention": 0, "cross-layer": 1, "both-inputs": 1}
BYTES_PER_WEIGHT = 2  # bf16
GROUP_BYTES = 1 << 30  # of inputs held at once: real models are trained some layers at a time
DEFAULT_ARCHITECTURE: Architecture = "arch2"
DEFAULT_LOSS = "weighted-bce"

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """One predictor to train."""

    kind: Kind
    distance: int
    architecture: Architecture = DEFAULT_ARCHITECTURE
    loss: str = DEFAULT_LOSS
    hidden: int = 2048
    epochs: int = 5
    batch: int = 1024
    peak_rate: float = 3e-3
    weight_decay: float = 0.01
    seed: int = 0
    share: float = 1.0  # of the training documents: for learning curves
    # A check of the laboratory, not for use: targets of other tokens, so there is nothing to learn.
    shuffled: bool = field(default=False, kw_only=True)

    @property
    def name(self) -> str:
        parts: list[str] = [self.kind]
        parts += [str(self.distance)] if self.distance != NEAREST[self.kind] else []
        parts += [self.architecture] if self.architecture != DEFAULT_ARCHITECTURE else []
        parts += [self.loss] if self.loss != DEFAULT_LOSS else []
        parts += [f"{round(100 * self.share)}pc"] if self.share < 1 else []
        return "-".join(parts)


@dataclass
class Examples:
    """Inputs and targets of a group of ``G`` layers.

    Inputs float16 [G, N, d], experts int64 [G, N, k], logits float16 [G, N, E] or None.
    """

    inputs: torch.Tensor
    experts: torch.Tensor
    logits: torch.Tensor | None
    count: int

    def batch(
        self, rows: torch.Tensor, wanted: torch.Tensor, device: torch.device
    ) -> tuple[torch.Tensor, Target]:
        """Inputs of ``rows`` and the targets of ``wanted``, the same rows unless shuffled."""
        experts = self.experts[:, wanted].to(device)  # narrow as they are; widened over there
        shape = (*experts.shape[:2], self.count)
        routed = torch.zeros(shape, device=device).scatter_(2, experts, 1.0)
        logits = None if self.logits is None else self.logits[:, wanted].to(device).float()
        return self.inputs[:, rows].to(device).float(), Target(routed, logits)


def train(
    trace: Trace, folder: Path, plan: Plan, device: str = "cpu", advance: Advance | None = None
) -> Card:
    """Train ``plan`` on the captured ``trace`` and write it into ``folder``.

    Raises TraceError where the trace lacks the states or documents that it takes.
    """
    assert trace.path is not None
    states = _states(trace, plan)
    gates = _gates(trace, plan)
    rows = split_rows(trace)
    rows["train"] = training_rows(trace, plan.share)
    layers = range(plan.distance, trace.model.moe_layers)
    if not layers:
        raise TraceError(f"{plan.name}: the model has only {trace.model.moe_layers} MoE layers")
    torch.manual_seed(plan.seed)
    width = sum(states[kind].width for kind in READS[plan.kind])
    groups = list(layer_groups(layers, int(rows["train"].sum()) * width * 2))
    total = len(groups) * plan.epochs
    networks, losses, scales, errors, hits = [], [], [], [], []
    for done, group in enumerate(groups):
        network = Stacked(plan.architecture, len(group), width, plan.hidden, trace.model.experts)
        if gates is not None:
            start, stop = group.start, group.stop
            network.start_at(*(torch.from_numpy(g[start:stop]) for g in gates))
        network = network.to(device)
        examples = _examples(trace, states, plan, group, rows["train"])

        def tell(epoch: int, at: int = done) -> None:
            if advance is not None:
                advance(at * plan.epochs + epoch, total)

        losses.append(_fit(network, examples, plan, tell))
        # Calibrated on documents apart from those of training, and measured on others again.
        said, truth = _say(network, trace, states, plan, group, rows["calibrate"])
        apart, true = _say(network, trace, states, plan, group, rows["held-out"])
        for layer in range(len(group)):
            slope, offset = fit_platt(said[layer], truth[layer])
            chance = expit(slope * apart[layer] + offset)
            scales.append((slope, offset))
            errors.append(named_error(chance, true[layer], trace.model.named()))
            if group[layer]:
                hits.append(slot_hits(chance, true[layer], trace.model.top_k))
        networks.append(network.cpu().eval())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)  # of weights that go now
    content = io.BytesIO()  # a full disk is then an OSError, which torch.save's is not
    torch.save([network.state_dict() for network in networks], content)
    with replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(content.getvalue())
    documents = learned(trace, plan.share)
    card = Card(
        name=plan.name,
        kind=plan.kind,
        info=_info(plan, networks[0], trace, len(documents), int(rows["train"].sum())),
        model=trace.model,
        weights=weights_digest(trace),
        documents=documents,
        settings={
            "distance": plan.distance,
            "architecture": plan.architecture,
            "loss": plan.loss,
            "hidden": plan.hidden,
            "epochs": plan.epochs,
            "batch": plan.batch,
            "peak_rate": plan.peak_rate,
            "weight_decay": plan.weight_decay,
            "seed": plan.seed,
            "share": plan.share,
            "data": data_digest(trace),
            "targets": _targets(states, plan),
        },
        losses=tuple(round(float(v), 6) for v in np.mean(losses, axis=0)),
        slope=tuple(s for s, _ in scales),
        offset=tuple(o for _, o in scales),
        calibration_error=round(float(np.mean(errors)), 6),
        slot_recall=share(hits),
    )
    write_card(folder, card)
    return card


def _fit(
    network: Stacked, examples: Examples, plan: Plan, tell: Callable[[int], None]
) -> list[float]:
    """Train in place; mean loss a layer of each epoch."""
    loss_of = LOSSES[plan.loss]
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=plan.peak_rate, weight_decay=plan.weight_decay, fused=True
    )
    layers, count = examples.inputs.shape[:2]
    steps = plan.epochs * math.ceil(count / plan.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(plan.seed)
    other = torch.randperm(count, generator=generator) if plan.shuffled else torch.arange(count)
    network.train()
    epochs = []
    for epoch in range(plan.epochs):
        losses = []
        for rows in torch.randperm(count, generator=generator).split(plan.batch):
            if len(rows) == 1 < count:
                continue  # BatchNorm knows no spread of one
            inputs, target = examples.batch(rows, other[rows], device)
            loss = loss_of(network(inputs), target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(float(loss.detach()) / layers)
        epochs.append(sum(losses) / len(losses))
        tell(epoch + 1)
    return epochs


def _say(
    network: Stacked,
    trace: Trace,
    states: dict[str, States],
    plan: Plan,
    layers: range,
    rows: Array,
) -> tuple[Array, Array]:
    """What it says of some of ``rows``, float [G, N, E], and the truth, bool of the same shape."""
    examples = _examples(trace, states, plan, layers, some(rows, plan.seed))
    every = torch.arange(examples.inputs.shape[1])
    inputs, target = examples.batch(every, every, next(network.parameters()).device)
    network.eval()
    with torch.no_grad():
        said = levelled(network(inputs), examples.experts.shape[2], plan.loss)
    return said.cpu().numpy(), target.routed.cpu().numpy() > 0


def _targets(states: Mapping[str, States], plan: Plan) -> str:
    """What it learns to say: some losses weigh by the router's ranks where these are kept."""
    return "logits" if "logits" in states and plan.loss in USES_LOGITS else "routed"


def _states(trace: Trace, plan: Plan) -> dict[str, States]:
    assert trace.path is not None
    states = open_states(trace.path)
    wanted = READS[plan.kind] + (("logits",) if plan.loss in NEEDS_LOGITS else ())
    for kind in wanted:
        if kind not in states:
            option = "--logits" if kind == "logits" else "--states"
            raise TraceError(
                f"{trace.path}: {plan.name} learns from {kind}, {no_states(trace, kind, option)}"
            )
    return states


def _gates(trace: Trace, plan: Plan) -> tuple[Array, Array] | None:
    if plan.architecture != "gate":
        return None
    assert trace.path is not None
    gates = read_gates(trace.path)
    if gates is None:
        raise TraceError(
            f"{trace.path}: {plan.name} starts from the layers' own gates, which were not kept: "
            "capture with --states (routers that are not one linear map have none)"
        )
    layers, experts, _ = trace.model.topology
    if (
        gates[0].shape != (layers, experts, trace.model.hidden)
        or gates[1].shape != gates[0].shape[:2]
    ):
        raise TraceError(f"{trace.path}: the gates kept there are another model's")
    return gates


def layer_groups(layers: range, each: int) -> Iterator[range]:
    """Runs of layers whose inputs, of ``each`` bytes, are held together."""
    size = max(1, min(len(layers), GROUP_BYTES // max(1, each)))
    for start in range(layers.start, layers.stop, size):
        yield range(start, min(start + size, layers.stop))


def _examples(
    trace: Trace, states: dict[str, States], plan: Plan, layers: range, rows: Array
) -> Examples:
    firing = range(layers.start - plan.distance, layers.stop - plan.distance)
    wanted = slice(layers.start, layers.stop)
    experts = trace.experts[rows][:, wanted].astype(np.int64).transpose(1, 0, 2)
    logits = None
    if "logits" in states and plan.loss in USES_LOGITS:
        logits = torch.from_numpy(np.stack([states["logits"].layer(l, rows) for l in layers]))
    inputs = state_inputs(states, plan.kind, firing, rows)
    return Examples(inputs, torch.from_numpy(experts.copy()), logits, trace.model.experts)


def _info(
    plan: Plan, network: Stacked, trace: Trace, documents: int, tokens: int
) -> PredictionInfo:
    d = trace.model.hidden * len(READS[plan.kind])
    h, e = plan.hidden, trace.model.experts
    shapes = {
        "arch1": f"Linear({d}→{h}) → BatchNorm → GELU → Dropout → Linear({h}→{e})",
        "arch2": f"Linear({d}→{h}) → SiLU → Linear({h}→{e})",
        "linear": f"Linear({d}→{e})",
        "gate": f"Its own gate, plus Linear({d}→{h}) → SiLU → Linear({h}→{e})",
    }
    reads = {
        "pre-attention": "the output of a layer's input norm",
        "cross-layer": "what a layer's gate reads",
        "both-inputs": "a layer's input norm and what its gate reads",
    }
    ahead = f"{plan.distance} layer{'s' if plan.distance > 1 else ''} ahead"
    where = ahead if plan.distance else "of the same layer"
    return PredictionInfo(
        trigger=TRIGGER[plan.kind],
        distance=plan.distance,
        flops=network.flops,
        bytes=BYTES_PER_WEIGHT * network.weights,
        time_us=_time(network),
        description=f"Reads {reads[plan.kind]}, names experts {where}. "
        f"{shapes[plan.architecture]}, one a layer, loss {plan.loss}, {plan.epochs} epochs over "
        f"{tokens:,} tokens of {documents} documents, none of which it speaks of. Scores are "
        "probabilities, calibrated on documents apart.",
    )


def _time(network: Stacked) -> float:
    """Microseconds for one token and layer, on the CPU of the machine that trained it."""
    state = {name: v[:1] for name, v in network.state_dict().items() if v.ndim == 3}
    width = state.get("w1", state["w2"]).shape[1]
    hidden = state["w2"].shape[1]
    # Without its BatchNorm, which a deployment folds into the first matrix.
    shape: Architecture = "arch2" if network.architecture == "arch1" else network.architecture
    single = Stacked(
        shape,
        1,
        width,
        hidden,
        state["w2"].shape[2],
    )
    single.load_state_dict(state)
    token = torch.randn(1, 1, width)
    with torch.no_grad():
        return median_us(lambda: single(token), 50)
