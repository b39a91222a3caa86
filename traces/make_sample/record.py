"""Records routing through hooks while a model generates with a KV cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


@dataclass
class Recording:
    """What one or more forward passes showed, rows being tokens: ``N`` of them, ``L`` layers.

    ``layer_input`` is the output of each layer's input norm, ``gate_input`` what its router
    reads (the output of the post-attention norm); both [L, N, hidden] and in the model's dtype.
    ``experts`` [N, L, k] is best first, ``weights`` [N, L, k] what the model multiplied by.
    """

    experts: torch.Tensor
    weights: torch.Tensor
    layer_input: torch.Tensor
    gate_input: torch.Tensor


class RoutingRecorder:
    """Hooks on the routers and input norms of a transformers GptOss model.

    A context manager; ``take`` gives what the forward pass just made and forgets it. Rows are in
    the order the router sees them: sequence by sequence, token by token.
    """

    def __init__(self, model: Any) -> None:
        self._layers = list(model.model.layers)
        self._experts: list[torch.Tensor] = []
        self._weights: list[torch.Tensor] = []
        self._layer_input: list[torch.Tensor] = []
        self._gate_input: list[torch.Tensor] = []
        self._handles: list[Any] = []

    def __enter__(self) -> RoutingRecorder:
        for layer in self._layers:
            self._handles.append(layer.input_layernorm.register_forward_hook(self._on_norm))
            self._handles.append(layer.mlp.router.register_forward_hook(self._on_router))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _on_norm(self, _module: Any, _args: Any, output: torch.Tensor) -> None:
        self._layer_input.append(output.detach().flatten(0, -2))

    def _on_router(self, _module: Any, args: Any, output: Any) -> None:
        _logits, scores, indices = output  # softmax over the selected, best first
        self._gate_input.append(args[0].detach())
        self._experts.append(indices)
        self._weights.append(scores.detach())

    def take(self) -> Recording:
        recording = Recording(
            experts=torch.stack(self._experts, dim=1),
            weights=torch.stack(self._weights, dim=1),
            layer_input=torch.stack(self._layer_input),
            gate_input=torch.stack(self._gate_input),
        )
        for seen in (self._experts, self._weights, self._layer_input, self._gate_input):
            seen.clear()
        return recording


@dataclass
class Generated:
    """``B`` requests of equal length: ``tokens`` int [B, S], all of them fed to the model.

    ``recording`` has the rows request by request; the first ``prompt`` of each are prefill.
    """

    tokens: torch.Tensor
    prompt: int
    recording: Recording


def generate(
    model: Any, prompts: torch.Tensor, new_tokens: int, temperature: float, seed: int
) -> Generated:
    """Prefill ``prompts`` [B, P] in one pass, then feed ``new_tokens`` sampled ones each.

    Equal lengths, so nothing is padded. A decode row is the token fed in at that step.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, length = prompts.shape
    parts, tokens = [], [prompts]
    with torch.no_grad(), RoutingRecorder(model) as recorder:
        out = model(input_ids=prompts, use_cache=True, logits_to_keep=1)
        parts.append(recorder.take())
        for _ in range(new_tokens):
            probabilities = torch.softmax(out.logits[:, -1] / temperature, dim=-1)
            fed = torch.multinomial(probabilities, 1, generator=generator)
            out = model(input_ids=fed, past_key_values=out.past_key_values, use_cache=True)
            parts.append(recorder.take())
            tokens.append(fed)
    return Generated(torch.cat(tokens, dim=1), length, _by_request(parts, batch))


def _by_request(parts: list[Recording], batch: int) -> Recording:
    """Put the passes' rows, each [batch × its tokens], into one sequence per request."""

    def join(name: str, axis: int) -> torch.Tensor:
        blocks = [getattr(part, name).unflatten(axis, (batch, -1)) for part in parts]
        return torch.cat(blocks, dim=axis + 1).flatten(axis, axis + 1)

    return Recording(
        experts=join("experts", 0),
        weights=join("weights", 0),
        layer_input=join("layer_input", 1),
        gate_input=join("gate_input", 1),
    )


def observe(model: Any, windows: npt.NDArray[np.int64], batch: int = 8) -> Iterator[Recording]:
    """Recordings of plain forward passes over text, ``batch`` windows [S] at a time."""
    with RoutingRecorder(model) as recorder:
        for start in range(0, len(windows), batch):
            with torch.no_grad():
                model(input_ids=torch.from_numpy(windows[start : start + batch]), use_cache=False)
            yield recorder.take()
