"""How long each part of a forward pass computes: a roofline with launch overheads.

An operator moves bytes and does operations; its roofline is the longer of bytes over achieved
bandwidth and operations over achieved matrix throughput. Its kernels add to that:

- ``fused`` (a compiled runtime, CUDA graphs): roofline + kernels · launch_us, the gap that small
  kernels leave between them even when they are queued ahead.
- ``eager`` (PyTorch without compilation): max(roofline, kernels · eager_launch_us), because the
  host issues kernels while the device works on earlier ones, and the slower of the two decides.

What the runtime does beside (``runtime``) is added to the parts in which it happens.
Durations are integer nanoseconds, each rounded once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prefetch_sim.hardware_profiles import HardwareProfile, RuntimeProfile
from prefetch_sim.sim.cost.attention import (
    BYTES,
    AttentionWork,
    Phase,
    decode_in_sight,
    tokens_in_sight,
)
from prefetch_sim.sim.cost.cpu import CpuCost
from prefetch_sim.sim.cost.runtime import RuntimeCost
from prefetch_sim.traces.models.precision import Precision, Stored, rate
from prefetch_sim.traces.models.spec import LatentAttention, Mixer, ModelSpec, NoAttention
from prefetch_sim.traces.models.weights import Weights


class Kernels(NamedTuple):
    """Kernels that one operator launches."""

    norm: int
    grouped_attention: int
    latent_attention: int
    gate: int
    mlp: int  # shared experts, or a dense layer's MLP
    expert: int
    dispatch: int  # permute and combine, a MoE layer
    head: int
    predictor: int


# Counted from fused runtimes (vLLM, llama.cpp): residual and norm are one kernel; attention is
# qkv, qk-norm, rope and cache write, attention, its reduction, output (latent: the query's and
# the value's absorbed products besides); the gate's product and its top-k; gate-up, activation,
# down; sort, gather, weighted sum.
FUSED = Kernels(
    norm=1, grouped_attention=6, latent_attention=8, gate=2, mlp=3, expert=3, dispatch=3, head=1,
    predictor=3,
)  # fmt: skip

# PyTorch operators in the transformers library. norm, grouped_attention (projections 4, rope 10,
# cache 2, repeated heads 2, attention 8), mlp and head are counted in its source. The rest is
# fitted to the eager timings of DeepSeek-V2-Lite on three GPUs in arXiv 2511.10676: with
# eager_launch_us from the norm's 8 kernels, attention comes to 70–79 launches, the gate to 9–11
# and the experts to 640–724, i.e. 10 for each of the 64: the loop visits every expert, routed or
# not. Its predictor (0.15 ms, the GPU not stated) comes to 9–16.
EAGER = Kernels(
    norm=8, grouped_attention=26, latent_attention=75, gate=10, mlp=5, expert=10, dispatch=0,
    head=1, predictor=12,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepCost:
    """One forward pass; lists are by MoE layer, all in ns.

    ``prologue_ns``: the host's work on the layer, and the dense layers just before;
    ``attention_ns``: from the layer's own start to its gate's input, of which ``norm_ns`` is the
    input norm; ``gate_ns``: with the routing's way to whoever decides; ``moe_fixed_ns``: permute
    and combine; ``epilogue_ns``: trailing dense layers, final norm, lm_head and the host's work on
    the step.
    """

    prologue_ns: tuple[int, ...]
    attention_ns: tuple[int, ...]
    norm_ns: int
    gate_ns: int
    moe_fixed_ns: int
    shared_ns: int
    epilogue_ns: int


class _Matrix(NamedTuple):
    """Weights that rows are multiplied with."""

    weights: int
    nbytes: float
    flops: float  # operations a ns


class _Kind(NamedTuple):
    """Layers that attend alike."""

    prefill: AttentionWork
    decode: AttentionWork
    window: int | None
    projections: _Matrix
    norms: int  # the MLP's among them
    kernels: int


class _Batch(NamedTuple):
    """What depends on the number of tokens alone. Floats are ns before rounding."""

    tokens: int
    norm: float
    projections: list[float]  # roofline only, by kind of attention
    dense_mlp: float
    head: float
    gate_ns: int
    moe_fixed_ns: int
    shared_ns: int


class CostModel:
    """Durations of ``model`` on ``profile`` in ``runtime``, stored in ``precision``.

    Where layers are stored in different types, experts take what their own take; attention, dense
    MLPs and shared experts take what they do in the mean layer.
    """

    def __init__(
        self,
        model: ModelSpec,
        profile: HardwareProfile,
        runtime: RuntimeProfile,
        *,
        precision: Stored,
    ) -> None:
        self.model = model
        weights = Weights.of(model, precision)
        self.expert_bytes = list(weights.experts)
        self.runtime = RuntimeCost.of(runtime, self.expert_bytes)
        compute = profile.compute
        self._eager = runtime.kernels == "eager"
        self._kernels = EAGER if self._eager else FUSED
        launch = compute.eager_launch_us if self._eager else compute.launch_us
        self._launch = launch.value * 1e3
        self._bandwidth = compute.memory_gb_s.value  # GB/s is bytes a ns
        self._expert_bandwidth = self._bandwidth * compute.expert_efficiency.value
        stored = Precision.of(precision).over(model.precision)
        self.cpu = None
        if profile.cpu is not None:
            of_experts = rate(stored.experts)
            self.cpu = CpuCost(model, profile, runtime, self.expert_bytes, of_experts)
        # TFLOPS to operations a ns; what a profile has no figure for runs at bf16's.
        parts = ("bf16", stored.experts, stored.shared, stored.attention, stored.head)
        self._flops, self._expert_flops, shared_flops, attention_flops, head_flops = (
            (getattr(compute.tflops, rate(name)) or compute.tflops.bf16).value * 1e3
            for name in parts
        )

        hidden, shared = model.hidden, model.shared_hidden * model.shared_experts
        self._dense_mlp = _Matrix(
            model.mlp_matrices * hidden * model.dense_hidden, _mean(weights.dense), attention_flops
        )
        self._gate = _Matrix(hidden * model.experts, weights.gate, self._flops)
        self._shared = _Matrix(
            model.mlp_matrices * hidden * shared, _mean(weights.shared), shared_flops
        )
        self._head = _Matrix(hidden * model.vocab, weights.head, head_flops)

        latent = model.expert_input or 0
        self._latent = _Matrix(2 * hidden * latent, _mean(weights.latent), attention_flops)

        # Of each MoE layer its kind, and how many dense layers of which kind, bare or not, precede
        # it. The last entry counts those after the last MoE layer.
        mixers = model.mixers
        kinds = list(dict.fromkeys(mixers))
        self._kinds = [self._kind(*kind, weights, attention_flops) for kind in kinds]
        self._usual = self._kind(model.attention, None, weights, attention_flops)
        self._moe: list[int] = []
        self._dense: list[Counter[tuple[int, bool]]] = [Counter()]
        for layer, mixer in enumerate(mixers):
            if layer in model.dense_layers:
                self._dense[-1][kinds.index(mixer), layer in model.bare_layers] += 1
            else:
                self._moe.append(kinds.index(mixer))
                self._dense.append(Counter())

        # The same while experts are loaded: None where that makes no difference.
        self.beside_loads: CostModel | None = None
        if compute.beside_loads is not None and compute.beside_loads.value < 1:
            slower = _slower(profile)
            self.beside_loads = CostModel(model, slower, runtime, precision=precision)

        self._batches: dict[tuple[int, int], _Batch] = {}
        tables: dict[int, dict[int, int]] = {size: {} for size in self.expert_bytes}
        self._expert_tables = [tables[size] for size in self.expert_bytes]
        # In eager mode the loop over all experts pays every launch (see `_batch`).
        self.expert_launch_ns = 0 if self._eager else round(self._kernels.expert * self._launch)

    def step(self, phase: Phase, token_counts: Sequence[int], contexts: Sequence[int]) -> StepCost:
        """One forward pass: request i feeds ``token_counts[i]`` tokens (1 in decode) after the
        ``contexts[i]`` tokens in its KV cache. Only a prompt's last token reaches lm_head."""
        tokens, requests = sum(token_counts), len(token_counts)
        batch = self._batch(tokens, tokens if phase == "decode" else requests)
        ns = [
            self._layer(phase, token_counts, contexts, kind, rows, batch)
            for kind, rows in zip(self._kinds, batch.projections)
        ]
        rounded = list(map(round, ns))
        dense = [0.0] * (len(self._moe) + 1)
        if self.model.dense_layers:
            # One without an MLP has no norm before that either.
            mlp = batch.dense_mlp, -batch.norm
            dense = [sum(n * (ns[i] + mlp[b]) for (i, b), n in at.items()) for at in self._dense]
        own = self.runtime
        return StepCost(
            prologue_ns=tuple([round(ns) + own.layer_ns for ns in dense[:-1]]),
            attention_ns=tuple([rounded[i] for i in self._moe]),
            norm_ns=round(batch.norm),
            gate_ns=batch.gate_ns + own.routing_ns,
            moe_fixed_ns=batch.moe_fixed_ns,
            shared_ns=batch.shared_ns,
            epilogue_ns=round(dense[-1] + batch.head) + own.step_ns,
        )

    def expert_ns(self, layer: int, tokens: int) -> int:
        """One routed expert of MoE layer ``layer`` on ``tokens`` tokens, its launches apart."""
        table = self._expert_tables[layer]
        known = table.get(tokens)
        if known is None:
            flops = 2.0 * self.model.expert_weights * tokens
            roofline = max(
                flops / self._expert_flops, self.expert_bytes[layer] / self._expert_bandwidth
            )
            if self._eager:  # the loop's launches run meanwhile; only what exceeds them counts
                roofline = max(roofline - self._kernels.expert * self._launch, 0.0)
            known = table[tokens] = round(roofline)
        return known

    def predictor_ns(self, flops: float, nbytes: int, tokens: int) -> int:
        """A two-layer MLP: ``flops`` operations a token, ``nbytes`` of weights read once."""
        return round(self._time(self._kernels.predictor, self._roofline(flops * tokens, nbytes)))

    def operators(self, phase: Phase, context: int) -> dict[str, int]:
        """ns of each operator of one MoE layer, for comparison with measurements.

        Decode: one token after ``context`` cached ones. Prefill: a prompt of ``context`` tokens,
        spread evenly over the experts, which run as one group. Attention is the model's usual,
        without a window.
        """
        tokens, cached = (1, context) if phase == "decode" else (context, 0)
        batch = self._batch(tokens, 1)
        rows = self._product(self._usual.projections, tokens)
        whole = self._layer(phase, [tokens], [cached], self._usual, rows, batch)
        attention = whole - 2 * batch.norm
        slots = tokens * self.model.top_k
        active = min(self.model.experts, slots)
        experts = self.expert_launch_ns + active * self.expert_ns(0, -(-slots // active))
        return {
            "input_norm": round(batch.norm),
            "self_attention": round(attention),
            "post_norm": round(batch.norm),
            "expert_selection": batch.gate_ns,
            "expert_computation": batch.moe_fixed_ns + batch.shared_ns + experts,
        }

    def _layer(
        self,
        phase: Phase,
        counts: Sequence[int],
        contexts: Sequence[int],
        kind: _Kind,
        projections: float,
        batch: _Batch,
    ) -> float:
        """ns of the norms and attention of a layer of ``kind``."""
        work = kind.prefill if phase == "prefill" else kind.decode
        if not work.weights:
            return kind.norms * batch.norm
        if phase == "decode" and batch.tokens == len(counts):
            pairs = read = decode_in_sight(contexts, kind.window)
        else:
            pairs, read = tokens_in_sight(counts, contexts, kind.window)
        flops, nbytes = pairs * work.pair_flops, read * work.kv_bytes
        if work.cached_flops:
            flops += sum(contexts) * work.cached_flops
        if work.state_bytes:
            flops += batch.tokens * work.token_flops
            nbytes += 2 * len(counts) * work.state_bytes
        core = self._roofline(flops, nbytes)
        return kind.norms * batch.norm + self._time(kind.kernels, projections + core)

    def _batch(self, tokens: int, outputs: int) -> _Batch:
        key = (tokens, outputs)
        if key not in self._batches:
            model, kernels = self.model, self._kernels
            hidden = model.hidden
            # Residual and input are read, the sum written; normalising is free beside that.
            norm = self._time(kernels.norm, self._roofline(0, 3 * tokens * hidden * BYTES))
            # Each routed token is gathered and summed back: read and written twice.
            permute = self._roofline(0, 4 * tokens * model.top_k * model.expert_width * BYTES)
            launches = model.experts * kernels.expert if self._eager else kernels.dispatch
            fixed = self._time(launches, permute)
            if model.expert_input:
                fixed += self._time(2, self._product(self._latent, tokens))
            shared = self._product(self._shared, tokens)
            self._batches[key] = _Batch(
                tokens=tokens,
                norm=norm,
                projections=[self._product(kind.projections, tokens) for kind in self._kinds],
                dense_mlp=self._time(kernels.mlp, self._product(self._dense_mlp, tokens)),
                head=self._time(kernels.head, self._product(self._head, outputs)) + norm,
                gate_ns=round(self._time(kernels.gate, self._product(self._gate, tokens))),
                moe_fixed_ns=round(fixed),
                shared_ns=round(self._time(kernels.mlp, shared)) if shared else 0,
            )
        return self._batches[key]

    def _kind(self, mixer: Mixer, window: int | None, weights: Weights, flops: float) -> _Kind:
        hidden, mixers = self.model.hidden, self.model.mixers
        prefill, decode = (AttentionWork.of(mixer, hidden, p, weights.kv) for p in _PHASES)
        sizes = [nbytes for (m, _), nbytes in zip(mixers, weights.attention) if m == mixer]
        latent, kernels = isinstance(mixer, LatentAttention), self._kernels
        return _Kind(
            prefill,
            decode,
            window,
            _Matrix(decode.weights, _mean(sizes), flops),
            norms=1 if isinstance(mixer, NoAttention) else 2,
            # A recurrent layer: two products in, convolution, recurrence, norm, output.
            kernels=kernels.latent_attention if latent else kernels.grouped_attention,
        )

    def _product(self, matrix: _Matrix, rows: int) -> float:
        """Roofline ns of ``rows`` times a matrix."""
        return max(2.0 * matrix.weights * rows / matrix.flops, matrix.nbytes / self._bandwidth)

    def _roofline(self, flops: float, nbytes: float) -> float:
        return max(flops / self._flops, nbytes / self._bandwidth)

    def _time(self, kernels: int, roofline: float) -> float:
        launches = kernels * self._launch
        return max(roofline, launches) if self._eager else roofline + launches


def _slower(profile: HardwareProfile) -> HardwareProfile:
    """``profile`` with the bandwidth that loads leave to what computes."""
    compute = profile.compute
    assert compute.beside_loads is not None
    whole = compute.memory_gb_s
    left = whole.model_copy(update={"value": whole.value * compute.beside_loads.value})
    less = compute.model_copy(update={"memory_gb_s": left, "beside_loads": None})
    return profile.model_copy(update={"compute": less})


def _mean(sizes: Sequence[int]) -> float:
    return sum(sizes) / len(sizes) if sizes else 0.0


_PHASES: tuple[Phase, Phase] = ("prefill", "decode")
