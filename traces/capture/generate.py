"""Generation with a KV cache, one batch at a time, keeping what the real tokens routed.

Prompts of different lengths are padded on the left; a padded position, and a request that has
ended, never become rows. A decode row is the token fed in at that step, so ``n`` new tokens give
``n - 1`` of them: nothing is fed after the last.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from prefetch_sim.traces.capture.recorder import Recording, RoutingRecorder, heaviest_first
from prefetch_sim.traces.capture.timing import TimingRecorder

# Expert ids and scores of each predictor, [N, L, m], for the rows of one forward pass.
Named = dict[str, tuple[torch.Tensor, torch.Tensor]]
Predict = Callable[[Recording, torch.Tensor], Named]


@dataclass(frozen=True)
class Sampling:
    """``temperature`` 0 takes the most probable token; request ``r`` draws from ``seed + r``."""

    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    stop: Collection[int] = ()


@dataclass
class Rows:
    """Real tokens in the order they were fed: request, position and phase of each, on the CPU."""

    request: torch.Tensor  # int64 [N]: which of the batch
    position: torch.Tensor  # int64 [N]
    prefill: torch.Tensor  # bool [N]
    token: torch.Tensor  # int64 [N]
    recording: Recording
    named: Named


class Decoder:
    """A batch of requests on their way: ``feed`` runs one forward pass and picks the next tokens.

    ``prompts`` are token ids, ``numbers`` the requests' numbers, for their random draws.
    """

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], numbers: Sequence[int], how: Sampling
    ) -> None:
        self.model, self.how = model, how
        self.device = next(model.parameters()).device
        longest = max(map(len, prompts))
        ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        self.ids = ids.to(self.device)  # what is fed next, [B, S]
        self.real = mask.bool()  # on the CPU: which of it is a token of a running request
        self.position = (mask.cumsum(1) - 1).clamp(min=0)
        self.mask = mask.to(self.device)  # everything fed so far
        self.cache: Any = None
        self.new: list[list[int]] = [[] for _ in prompts]
        self.generators = [torch.Generator().manual_seed(how.seed + n) for n in numbers]
        self.last = {"logits_to_keep": 1} if _keeps(model) else {}

    @property
    def running(self) -> bool:
        return bool(self.real.any())

    def forward(self) -> torch.Tensor:
        """One pass over what is due: logits of what follows each request, float32 [B, vocab]."""
        out = self.model(
            input_ids=self.ids,
            attention_mask=self.mask,
            position_ids=self.position.to(self.device),
            past_key_values=self.cache,
            use_cache=True,
            **self.last,
        )
        self.cache = out.past_key_values
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits

    def feed(self) -> None:
        """A forward pass, after which ``ids`` is what is due next."""
        alive = self.real[:, -1]
        chosen = self._choose(self.forward(), alive)
        goes_on = torch.zeros_like(alive)
        for row, token in enumerate(chosen.tolist()):
            if alive[row]:
                self.new[row].append(token)
                full = len(self.new[row]) >= self.how.max_new_tokens
                goes_on[row] = not full and token not in self.how.stop
        self.ids = chosen[:, None].to(self.device)
        self.real = goes_on[:, None]
        self.position = self.position[:, -1:] + 1
        # What a finished request is fed is masked, so that no later token of it is looked at.
        self.mask = torch.cat([self.mask, self.real.to(self.mask)], dim=1)

    def _choose(self, logits: torch.Tensor, alive: torch.Tensor) -> torch.Tensor:
        if not self.how.temperature:
            return logits.argmax(dim=-1).cpu()
        chances = torch.softmax(logits / self.how.temperature, dim=-1).cpu()
        chosen = torch.zeros(len(chances), dtype=torch.int64)
        for row, generator in enumerate(self.generators):
            if alive[row]:
                chosen[row] = torch.multinomial(chances[row], 1, generator=generator)
        return chosen


def generate(
    decoder: Decoder,
    recorder: RoutingRecorder,
    predict: Predict | None = None,
    timer: TimingRecorder | None = None,
) -> Rows:
    """Run a batch to its end, under ``recorder``: its rows, request by request."""
    return _by_request(list(passes(decoder, recorder, predict, timer)))


def passes(
    decoder: Decoder,
    recorder: RoutingRecorder,
    predict: Predict | None = None,
    timer: TimingRecorder | None = None,
) -> Iterator[Rows]:
    """The rows of one forward pass after the other: the prompts', then a step each."""
    prefill = True
    owners = torch.arange(len(decoder.real))[:, None]
    while decoder.running:
        ids, real, position = decoder.ids, decoder.real, decoder.position
        with torch.no_grad():
            decoder.feed()
            if timer is not None:
                timer.end_pass(prefill=prefill, requests=len(real), tokens=real.shape[1])
            recording = recorder.take()
            wanted = real.flatten()
            if not wanted.all():
                recording = recording.select(wanted)
            named = predict(recording, ids.flatten()[wanted.to(ids.device)]) if predict else {}
        owner = owners.expand_as(real)[real]
        yield Rows(
            request=owner,
            position=position[real],
            prefill=torch.full_like(owner, prefill, dtype=torch.bool),
            token=ids.cpu()[real],
            recording=_to_cpu(recording),
            named={k: (e.cpu(), s.cpu()) for k, (e, s) in named.items()},
        )
        prefill = False


def pads_well(model: Any) -> bool:
    """Whether a request goes on alike beside a longer one, whose length it is padded to.

    Rounding moves logits by some percent; a model whose state takes padding for text, as some of
    linear attention do in transformers, moves them by more than their own size.
    """

    def after(prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        decoder = Decoder(model, prompts, range(len(prompts)), Sampling(3))
        with torch.no_grad():
            decoder.feed()
            decoder.ids = torch.ones_like(decoder.ids)
            return decoder.forward()[0]

    alone, beside = after([[0, 1, 2]]), after([[0, 1, 2], list(range(3)) * 3])
    return float((alone - beside).norm()) < float(alone.norm()) / 2


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """No dropout and no routing noise meanwhile."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


def _keeps(model: Any) -> bool:
    """Whether the model can leave out the logits of all positions but the last."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _to_cpu(recording: Recording) -> Recording:
    """Narrow what is many: states are kept as float16, whose range bfloat16 exceeds."""
    most = torch.finfo(torch.float16).max

    def half(values: torch.Tensor | None) -> Any:
        return None if values is None else values.float().clamp(-most, most).half().cpu()

    return Recording(
        recording.experts.cpu(),
        recording.weights.cpu(),
        half(recording.layer_input),
        half(recording.gate_input),
        half(recording.logits),
    )


def _by_request(passes: list[Rows]) -> Rows:
    order = torch.cat([p.request for p in passes]).argsort(stable=True)

    def join(parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(parts)[order]

    def state(name: str) -> Any:
        parts = [getattr(p.recording, name) for p in passes]
        return None if parts[0] is None else join(parts)

    experts, weights = heaviest_first(state("experts"), state("weights").float())
    names: Mapping[str, Any] = passes[0].named
    return Rows(
        request=join([p.request for p in passes]),
        position=join([p.position for p in passes]),
        prefill=join([p.prefill for p in passes]),
        token=join([p.token for p in passes]),
        recording=Recording(
            experts.to(torch.int16),
            weights,
            state("layer_input"),
            state("gate_input"),
            state("logits"),
        ),
        named={
            k: (join([p.named[k][0] for p in passes]), join([p.named[k][1] for p in passes]))
            for k in names
        },
    )
