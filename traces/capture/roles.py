"""Finds the routers of a model by what they do, not by what they are called.

One tiny forward pass is watched. The module that is handed hidden states, a whole number for
each of k slots and a weight of the same shape holds the *experts*: what it is handed is what the
model uses, whatever groups, biases or masks chose it. The module that gave out those numbers is
the *router*, and what it reads is the gate input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from prefetch_sim.traces.trace import TraceError

_PROBE = (2, 3)  # sequences, tokens: 6 rows, so that no [batch, tokens] argument is taken for one


@dataclass(frozen=True)
class MoELayer:
    """The parts of one decoder layer that routes."""

    index: int  # among all decoder layers, dense ones included
    layer: nn.Module
    input_norm: nn.Module | None  # None: the layer's mixer reads the layer's input as it is
    mixer: nn.Module | None  # attention, or what stands in its place
    router: nn.Module
    experts: nn.Module
    beside: tuple[Any, ...] = ()  # what the router is handed after the gate input
    batched: bool = False  # the router takes [batch, rows, hidden], not [rows, hidden]
    probabilities: bool = False  # it gives out a softmax in place of logits
    alone: bool = True  # it chooses by the gate input alone, not by tokens or earlier layers

    def route(self, gate_input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What this layer's gate says of [rows, hidden]: experts [rows, k], logits [rows, E].

        Raises TraceError where the router gives out no logits, or looks at more than that.
        """
        if not self.alone:
            raise TraceError(f"{self._kind}: chooses by more than the gate input")
        given = gate_input[None] if self.batched else gate_input
        # Past the hooks: what a predictor asks is not what the model routes.
        results = [r.flatten(0, -2) for r in tensors(self.router.forward(given, *self.beside))]
        for numbers in results:
            if not numbers.is_floating_point():
                for logits in results:
                    if logits.is_floating_point() and logits.shape[-1] > numbers.shape[-1]:
                        return numbers, self.as_logits(logits.float())
        raise TraceError(f"{self._kind}: gives out no score of every expert")

    def as_logits(self, scores: torch.Tensor) -> torch.Tensor:
        """The router's scores, which a softmax makes its probabilities."""
        return scores.float().clamp(min=1e-30).log() if self.probabilities else scores

    @property
    def _kind(self) -> str:
        return type(self.router).__name__

    def matrix(self, experts: int, hidden: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Weight [E, hidden] and bias [E] of a gate that is one linear map; None of any other."""
        named = dict(self.router.named_parameters())
        weights = [p for p in named.values() if p.shape == (experts, hidden)]
        if len(weights) != 1:
            return None
        weight = weights[0].detach().float()
        bias = named.get("bias", torch.zeros(experts, device=weight.device)).detach().float()
        probe = torch.randn(4, hidden, device=weight.device).to(weights[0].dtype)
        try:
            with torch.no_grad():
                _, logits = self.route(probe)
        except TraceError:
            return None
        linear = probe.float() @ weight.T + bias
        near = torch.allclose(logits, linear, rtol=2e-2, atol=2e-2 * float(linear.std()))
        return (weight, bias) if near else None


@dataclass(frozen=True)
class Roles:
    """Decoder layers of a model and, of those that route, who does what."""

    layers: int
    moe: tuple[MoELayer, ...]
    experts: int
    top_k: int


@dataclass(frozen=True)
class Call:
    """One call seen in the probe."""

    module: nn.Module
    positional: tuple[Any, ...]
    arguments: tuple[torch.Tensor, ...]  # the tensors among all that it was handed
    results: tuple[torch.Tensor, ...]


def find_roles(model: Any) -> Roles:
    """Watch ``model`` (any transformers causal language model) for one small forward pass.

    Raises TraceError for a dense model and for one whose routing passes no module's boundary.
    """
    stack = _decoder_layers(model)
    seen: list[list[Call]] = [[] for _ in stack]
    handles = []
    for index, layer in enumerate(stack):
        for module in layer.modules():
            handles.append(module.register_forward_hook(_watch(seen[index]), with_kwargs=True))
    was_training = model.training
    try:
        device = next(model.parameters()).device
        ids = torch.arange(_PROBE[0] * _PROBE[1], device=device).reshape(_PROBE)
        with torch.no_grad():
            model.eval()(input_ids=ids % int(model.config.get_text_config().vocab_size))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    found = [_moe_layer(i, stack[i], calls) for i, calls in enumerate(seen)]
    moe = tuple(layer for layer, _, _ in (f for f in found if f is not None))
    if not moe:
        config = model.config.get_text_config()
        counts = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
        if any((getattr(config, name, 0) or 0) > 1 for name in counts):
            raise TraceError(
                f"{type(model).__name__}: has experts, but no module is handed their numbers and "
                "weights: this architecture's routing cannot be recorded"
            )
        raise TraceError(f"{type(model).__name__}: a dense model, no layer of it routes")
    shapes = {(experts, top_k) for _, experts, top_k in (f for f in found if f is not None)}
    if len(shapes) > 1:
        raise TraceError(
            f"{type(model).__name__}: layers of different (experts, top-k): {sorted(shapes)}; a "
            "trace has the same in every layer"
        )
    experts, top_k = shapes.pop()
    for part in moe:
        there = _with_weights(part.experts)
        if there is not None and there < experts:
            raise TraceError(
                f"{type(model).__name__}: {experts} experts are routed to, {there} have weights: a "
                "trace's experts are all loaded alike"
            )
    return Roles(len(stack), moe, experts, top_k)


def routed(arguments: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Expert numbers and weights, both [rows, k], among what a module was handed; else None."""
    for numbers in arguments:
        if numbers.dtype not in (torch.int64, torch.int32) or numbers.ndim != 2:
            continue
        for weights in arguments:
            if weights.is_floating_point() and weights.shape == numbers.shape:
                return numbers, weights
    return None


def logits_among(results: Sequence[torch.Tensor], experts: int) -> torch.Tensor | None:
    """The router's score of every expert, [rows, experts], among what it gave out; else None."""
    for tensor in results:
        if tensor.is_floating_point() and tensor.ndim == 2 and tensor.shape[1] == experts:
            return tensor
    return None


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in arguments or results, however nested, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)


def _decoder_layers(model: Any) -> nn.ModuleList:
    """Where transformers keeps them; of a model that also sees, those of its text."""
    inner = model.get_decoder() if hasattr(model, "get_decoder") else model
    layers = getattr(inner, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        raise TraceError(f"{type(model).__name__}: unknown architecture: no list of decoder layers")
    return layers


def _watch(calls: list[Call]) -> Any:
    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        arguments = (*tensors(args), *tensors(kwargs))
        calls.append(Call(module, args, arguments, tuple(tensors(output))))

    return note


def _moe_layer(index: int, layer: nn.Module, calls: list[Call]) -> tuple[MoELayer, int, int] | None:
    """The layer's parts, its experts and top-k; None where nothing in it routes."""
    rows = _PROBE[0] * _PROBE[1]
    for call in calls:
        handed = routed(call.arguments)
        if handed is None or handed[0].shape[0] != rows:
            continue
        numbers = handed[0]
        for other in calls:
            if other.module is call.module or not _gives(other, numbers):
                continue
            count = _experts(other, call.module, numbers.shape[1])
            if count is None:
                break
            norm, mixer = _before_the_gate(layer, calls)
            if mixer is not None and other.module in mixer.modules():
                mixer = None  # a layer that is nothing but its experts
            parts = MoELayer(
                index,
                layer,
                norm,
                mixer,
                other.module,
                call.module,
                beside=other.positional[1:],
                batched=other.arguments[0].ndim == 3,
                probabilities=_probabilities(logits_among(other.results, count)),
            )
            parts = replace(parts, alone=_alone(parts, other.arguments[0], numbers))
            return parts, count, numbers.shape[1]
    return None


def _alone(parts: MoELayer, read: torch.Tensor, numbers: torch.Tensor) -> bool:
    """Whether the router, given the probe's gate inputs in another order, chooses as before."""
    rows = read.flatten(0, -2)
    try:
        with torch.no_grad():
            again, _ = parts.route(rows.flip(0))
    except (TraceError, RuntimeError, TypeError):
        return False
    same = again.flip(0).sort(dim=1).values == numbers.sort(dim=1).values
    return bool(same.float().mean() > 0.9)  # rounding may turn one of scores alike


def _with_weights(experts: nn.Module) -> int | None:
    """How many of the experts have weights, where these are stacked; else None."""
    stacked = [len(values) for values in experts.parameters() if values.ndim == 3]
    return min(stacked) if stacked else None


def _gives(call: Call, numbers: torch.Tensor) -> bool:
    return any(r.shape == numbers.shape and torch.equal(r, numbers) for r in call.results)


def _experts(router: Call, experts: nn.Module, top_k: int) -> int | None:
    """How many experts there are: the width of the router's logits, or what the module says."""
    for result in router.results:
        if result.is_floating_point() and result.ndim == 2 and result.shape[1] > top_k:
            return int(result.shape[1])
    said = getattr(experts, "num_experts", None)
    return said if isinstance(said, int) else None


def _probabilities(scores: torch.Tensor | None) -> bool:
    if scores is None:
        return False
    whole = scores.float().sum(dim=-1)
    return bool((scores >= 0).all() and torch.allclose(whole, torch.ones_like(whole), atol=1e-2))


def _before_the_gate(
    layer: nn.Module, calls: list[Call]
) -> tuple[nn.Module | None, nn.Module | None]:
    """The input norm, and the mixer that reads it: the first two children that are called.

    A layer that normalises later calls its mixer first.
    """
    children = set(layer.children())
    order = [call.module for call in calls if call.module in children]
    norms = [module for module in order if "norm" in type(module).__name__.lower()]
    if order and norms and order[0] is norms[0]:
        return order[0], order[1] if len(order) > 1 else None
    return None, order[0] if order else None
