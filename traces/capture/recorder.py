"""Hooks that keep what a forward pass routes, and on request what its routers read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from prefetch_sim.traces.capture.hooks import Hooks
from prefetch_sim.traces.capture.roles import MoELayer, Roles, logits_among, routed, tensors
from prefetch_sim.traces.trace import TraceError


@dataclass
class Recording:
    """What forward passes showed. Rows are tokens, ``N`` of them, padded ones included.

    ``experts`` int64 and ``weights`` float [N, L, k] are what the experts were handed, in the
    order the router gave them. The others are there if asked for: ``layer_input`` (the output of
    each routing layer's input norm), ``gate_input`` (what its router read) and ``logits``, each
    [N, L, width].
    """

    experts: torch.Tensor
    weights: torch.Tensor
    layer_input: torch.Tensor | None = None
    gate_input: torch.Tensor | None = None
    logits: torch.Tensor | None = None

    def select(self, rows: torch.Tensor) -> Recording:
        """The recording of some rows: a mask or indices."""

        def of(values: torch.Tensor | None) -> Any:
            return None if values is None else values[rows.to(values.device)]

        return Recording(
            of(self.experts),
            of(self.weights),
            of(self.layer_input),
            of(self.gate_input),
            of(self.logits),
        )


class RoutingRecorder(Hooks):
    """A context manager; ``take`` gives what the forward pass just made, and forgets it."""

    def __init__(self, roles: Roles, *, inputs: bool = False, logits: bool = False) -> None:
        super().__init__()
        self._roles, self._inputs, self._logits = roles, inputs, logits
        self._seen: dict[str, list[torch.Tensor]] = {}

    def __enter__(self) -> RoutingRecorder:
        for part in self._roles.moe:
            if self._inputs and part.mixer is None:
                raise TraceError(
                    f"{type(part.layer).__name__}: a layer of nothing but experts: what its norm "
                    "gives out is what the gate reads, so there are no states to predict from"
                )
            self._handles.append(
                part.experts.register_forward_pre_hook(self._on_experts, with_kwargs=True)
            )
            if self._inputs and part.input_norm is not None:
                self._handles.append(part.input_norm.register_forward_hook(self._on_norm))
            elif self._inputs:
                self._handles.append(
                    part.layer.register_forward_pre_hook(self._on_layer, with_kwargs=True)
                )
            if self._inputs or self._logits:
                self._handles.append(
                    part.router.register_forward_hook(
                        partial(self._on_router, part), with_kwargs=True
                    )
                )
        return self

    def _keep(self, name: str, value: torch.Tensor) -> None:
        value = value.detach()
        self._seen.setdefault(name, []).append(value if value.ndim == 2 else value.flatten(0, -2))

    def _on_experts(self, _module: Any, args: Any, kwargs: Any) -> None:
        given = (*args, *kwargs.values())
        handed = routed([value for value in given if isinstance(value, torch.Tensor)])
        assert handed is not None, "the experts were found by this very pattern"
        self._keep("experts", handed[0])
        self._keep("weights", handed[1])

    def _on_norm(self, _module: Any, _args: Any, output: torch.Tensor) -> None:
        self._keep("layer_input", output)

    def _on_layer(self, _module: Any, args: Any, kwargs: Any) -> None:
        self._keep("layer_input", next(tensors((args, kwargs))))

    def _on_router(self, part: MoELayer, _module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if self._inputs:
            self._keep("gate_input", next(tensors((args, kwargs))))
        if self._logits:
            scores = logits_among(tuple(tensors(output)), self._roles.experts)
            if scores is None:
                raise NoLogitsError
            self._keep("logits", part.as_logits(scores))

    def take(self) -> Recording:
        seen, self._seen = self._seen, {}
        stacked = {name: torch.stack(values, dim=1) for name, values in seen.items()}
        for name, values in stacked.items():
            if len(values) != len(stacked["experts"]):  # several streams a token, say
                raise TraceError(
                    f"{name} of this architecture is not one vector a token: no states"
                )
        return Recording(**stacked)


def heaviest_first(
    experts: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each set in the order of its weights; those alike stay as they were."""
    order = weights.argsort(dim=-1, descending=True, stable=True)
    return experts.gather(-1, order), weights.gather(-1, order)


class NoLogitsError(ValueError):
    """The router gives out no score of every expert."""
