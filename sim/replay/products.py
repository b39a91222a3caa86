"""The operators of a Mixture-of-Experts layer as real products, with weights drawn at random.

Shapes are the model's own; routing is the trace's. What a step computes depends on the trace and
on the seed alone, so two replays of one workload give the same bits, whatever lands when.
Rotary embeddings are left out. Latent attention works in its absorbed form, prompts too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from prefetch_sim.sim.replay.experts import aligned
from prefetch_sim.sim.workload.step import Step
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.models.spec import GroupedQueryAttention, LatentAttention, ModelSpec

_INPUTS = 256  # different inputs of a step, by row of the trace
_EPSILON = 1e-6

Matrices = tuple[torch.Tensor, torch.Tensor]


def mlp(x: torch.Tensor, matrices: Matrices) -> torch.Tensor:
    """Gate and up as one product, then down: [rows, hidden] of [rows, hidden]."""
    gate, up = functional.linear(x, matrices[0]).chunk(2, dim=-1)
    return functional.linear(functional.silu(gate) * up, matrices[1])


class Products:
    """Computes the steps of ``workload``, part by part, in the order in which it is called."""

    def __init__(
        self,
        model: ModelSpec,
        workload: Workload,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
        longest: int,
    ) -> None:
        """``longest``: tokens of the longest request."""
        self._workload, self._model, self._device, self._dtype = workload, model, device, dtype
        self._made = torch.Generator(device).manual_seed(seed)
        hidden = model.hidden
        self._inputs = self._draw(_INPUTS, hidden)
        self._scale = torch.ones(hidden, dtype=dtype, device=device)
        shared, dense = model.shared_hidden * model.shared_experts, model.dense_hidden
        self._attention = [self._projections() for _ in range(model.layers)]
        self._gates = [self._draw(model.experts, hidden) for _ in range(model.moe_layers)]
        self._shared = [self._mlp(shared) for _ in range(model.moe_layers if shared else 0)]
        self._dense = {i: self._mlp(dense) for i in sorted(set(model.dense_layers))}
        self._head = self._draw(model.vocab, hidden)
        self._layer_of = model.moe_layer_indices
        self._kv = [self._caches(longest) for _ in range(workload.batch_size)]
        self._places: dict[int, int] = {}  # by request, where its keys and values are
        self._last = {i: end - 1 for i, (_, _, end) in enumerate(workload.requests)}
        steps = sum(1 for _ in workload.steps())
        self.outputs = torch.zeros(steps * model.moe_layers, hidden, dtype=dtype, device=device)
        self._chosen = torch.zeros(
            1, model.top_k, dtype=torch.int64, pin_memory=device.type == "cuda"
        )

    # One step

    def begin(self, step: Step) -> None:
        """``step`` is the next one."""
        self._step = step
        for request in step.requests:
            if request not in self._places:
                self._places[request] = min(set(range(len(self._kv))) - {*self._places.values()})
        self._x = self._inputs[self._there(torch.tensor(step.rows) % _INPUTS)]
        self._where: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def end(self) -> None:
        """The step is over: requests that end with it leave their places."""
        for request in [r for r in self._step.requests if self._last[r] in self._step.rows]:
            del self._places[request]

    def forget(self) -> None:
        """Begin anew: no request has a place."""
        self._places.clear()

    def norm(self) -> None:
        """The input norm of a layer."""
        self._y = functional.rms_norm(self._x, (self._model.hidden,), self._scale, _EPSILON)

    def dense_before(self, layer: int) -> range:
        """The transformer layers before MoE layer ``layer`` that do not route."""
        first = self._layer_of[layer - 1] + 1 if layer else 0
        last = self._layer_of[layer] if layer < len(self._layer_of) else self._model.layers
        return range(first, last)

    def dense(self, layer: int) -> None:
        """Those layers."""
        for i in self.dense_before(layer):
            self.norm()
            self._attend(i)
            self._x = self._x + mlp(self._y, self._dense[i])

    def attention(self, layer: int) -> None:
        """Attention of MoE layer ``layer``, whose input norm is through, and the norm after it."""
        self._attend(self._layer_of[layer])

    def gate(self, layer: int) -> None:
        """Scores, the best of them, and their way to whoever decides, who takes the trace's."""
        scores = functional.linear(self._y, self._gates[layer]).float().softmax(-1)
        best = scores[-1:].topk(self._model.top_k).indices
        self._chosen.copy_(best, non_blocking=True)

    def shared(self, layer: int, routed: Sequence[int]) -> None:
        """Experts that every token goes to; and room for what the ``routed`` ones give."""
        step, k = self._step, self._workload.top_k
        size = len(step.rows), k, self._model.hidden
        self._parts = torch.zeros(size, dtype=self._dtype, device=self._device)
        self._where = {}
        if len(step.rows) > 1:
            self._where = self._served(self._workload.token_sets(step, layer), routed)
        else:
            self._ranks = {x: rank for rank, x in enumerate(routed)}
        if self._shared:
            self._x = self._x + mlp(self._y, self._shared[layer])

    def expert(self, x: int, matrices: Matrices) -> None:
        """One routed expert, on the tokens that it serves."""
        if self._where:
            tokens, ranks = self._where[x]
            self._parts[tokens, ranks] = mlp(self._y[tokens], matrices)
        else:
            self._parts[0, self._ranks[x]] = mlp(self._y, matrices)[0]

    def combine(self, layer: int) -> None:
        """What the routed experts gave, in the order of their ranks, whatever came first."""
        self._x = self._x + self._parts.sum(1) / self._workload.top_k
        self.outputs[self._step.number * self._workload.layers + layer] = self._x[-1]

    def head(self) -> None:
        """Trailing layers that do not route, the last norm, and the scores of the next tokens."""
        self.dense(len(self._layer_of))
        self.norm()
        last = torch.tensor(self._step.tokens).cumsum(0) - 1
        functional.linear(self._y[self._there(last)], self._head).argmax(-1)

    def _served(
        self, sets: npt.NDArray[np.int32], routed: Sequence[int]
    ) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        """Tokens and ranks that each of ``routed`` serves; ``sets`` [tokens, k], experts."""
        order = np.argsort(sets, axis=None, kind="stable")
        found = sets.ravel()[order]
        first, end = (np.searchsorted(found, routed, side) for side in ("left", "right"))
        tokens, ranks = self._there(torch.from_numpy(np.stack(np.divmod(order, sets.shape[1]))))
        return {x: (tokens[i:j], ranks[i:j]) for x, i, j in zip(routed, first, end)}

    def _there(self, numbers: torch.Tensor) -> torch.Tensor:
        """``numbers`` where it computes, which does not wait for work that it has still to do."""
        if self._device.type == "cpu":
            return numbers
        return numbers.pin_memory().to(self._device, non_blocking=True)

    def network(self, nbytes: int) -> Matrices:
        """A predictor of so many bytes: [width, hidden] and [experts, width]."""
        model = self._model
        width = max(1, nbytes // self._dtype.itemsize // (model.hidden + model.experts))
        return self._draw(width, model.hidden), self._draw(model.experts, width)

    def predict(self, network: Matrices) -> None:
        """What a network says of the tokens of the step; what is named comes from the trace."""
        hidden = functional.silu(functional.linear(self._y, network[0]))
        functional.linear(hidden, network[1]).topk(self._model.top_k)

    # Attention

    def _attend(self, layer: int) -> None:
        shape = self._model.attention
        attend = self._latent if isinstance(shape, LatentAttention) else self._grouped
        self._x = self._x + attend(layer)
        self.norm()

    def _grouped(self, layer: int) -> torch.Tensor:
        shape = self._model.attention
        assert isinstance(shape, GroupedQueryAttention)
        qkv, out = self._attention[layer]
        heads, kv_heads, dim = shape.heads, shape.kv_heads, shape.head_dim
        projected = functional.linear(self._y, qkv)
        found, first = [], 0
        for request, new, cached in zip(
            self._step.requests, self._step.tokens, self._step.contexts
        ):
            rows = (
                projected[first : first + new].view(new, heads + 2 * kv_heads, dim).transpose(0, 1)
            )
            first += new
            end = cached + new
            k, v = self._kv[self._places[request]][layer]
            k[:, cached:end], v[:, cached:end] = rows[heads : heads + kv_heads], rows[-kv_heads:]
            begin = 0
            if shape.sliding_window is not None and layer % 2 == 0:
                begin = max(0, end - max(shape.sliding_window, new))
            mask = _causal(new, end - begin, self._device) if new > 1 else None
            seen = functional.scaled_dot_product_attention(
                rows[None, :heads], k[None, :, begin:end], v[None, :, begin:end], mask,
                enable_gqa=heads != kv_heads,
            )  # fmt: skip
            found.append(seen[0].transpose(0, 1).reshape(new, heads * dim))
        return functional.linear(torch.cat(found) if len(found) > 1 else found[0], out)

    def _latent(self, layer: int) -> torch.Tensor:
        shape = self._model.attention
        assert isinstance(shape, LatentAttention)
        *to_query, down, key, value, out = self._attention[layer]
        query = self._y
        for matrix in to_query:
            query = functional.linear(query, matrix)
        latent = functional.linear(self._y, down)
        found, first = [], 0
        for request, new, cached in zip(
            self._step.requests, self._step.tokens, self._step.contexts
        ):
            rows = slice(first, first + new)
            first += new
            (kept,) = self._kv[self._places[request]][layer]
            kept[cached : cached + new] = latent[rows]
            seen = kept[: cached + new]
            q = query[rows].view(new, shape.heads, -1).transpose(0, 1)  # [heads, new, nope + rope]
            near = torch.cat((q[..., : shape.nope_dim] @ key, q[..., shape.nope_dim :]), dim=-1)
            scores = (near @ seen.T) * q.shape[-1] ** -0.5
            if new > 1:
                mask = _causal(new, cached + new, self._device)
                scores = scores.masked_fill(~mask, float("-inf"))
            read = scores.softmax(-1) @ seen[:, : shape.kv_rank]  # [heads, new, kv_rank]
            found.append((read @ value).transpose(0, 1).reshape(new, -1))
        return functional.linear(torch.cat(found), out)

    # Weights

    def _draw(self, *size: int) -> torch.Tensor:
        made = torch.randn(*size, generator=self._made, device=self._device) * size[-1] ** -0.5
        made = made.to(self._dtype)
        if self._device.type != "cpu":
            return made
        return aligned(made.nbytes).view(made.dtype).view(made.shape).copy_(made)  # as experts lie

    def _mlp(self, width: int) -> Matrices:
        hidden = self._model.hidden
        return self._draw(2 * width, hidden), self._draw(hidden, width)

    def _projections(self) -> tuple[torch.Tensor, ...]:
        shape, hidden = self._model.attention, self._model.hidden
        if isinstance(shape, GroupedQueryAttention):
            width = shape.heads * shape.head_dim
            together = width + 2 * shape.kv_heads * shape.head_dim
            return self._draw(together, hidden), self._draw(hidden, width)
        query = shape.heads * (shape.nope_dim + shape.rope_dim)
        ranks = (hidden, query) if shape.q_rank is None else (hidden, shape.q_rank, query)
        return (
            *(self._draw(b, a) for a, b in pairwise(ranks)),
            self._draw(shape.kv_rank + shape.rope_dim, hidden),
            self._draw(shape.heads, shape.nope_dim, shape.kv_rank),
            self._draw(shape.heads, shape.kv_rank, shape.v_dim),
            self._draw(hidden, shape.heads * shape.v_dim),
        )

    def _caches(self, longest: int) -> list[tuple[torch.Tensor, ...]]:
        """Keys and values of one request, by layer; what no prompt fills is drawn."""
        shape = self._model.attention
        if isinstance(shape, LatentAttention):
            size: tuple[int, ...] = (longest, shape.kv_rank + shape.rope_dim)
            return [(self._draw(*size),) for _ in range(self._model.layers)]
        size = shape.kv_heads, longest, shape.head_dim
        return [(self._draw(*size), self._draw(*size)) for _ in range(self._model.layers)]


def _causal(new: int, seen: int, device: torch.device) -> torch.Tensor:
    """[new, seen]: which of ``seen`` tokens each of the last ``new`` may look at."""
    return torch.ones(new, seen, dtype=torch.bool, device=device).tril(seen - new)
