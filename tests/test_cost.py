"""The cost model against hand arithmetic, published timings, and properties that must hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetch_sim.hardware_profiles import (
    HardwareProfile,
    load_profile,
    load_runtime,
    override,
)
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.cost.attention import AttentionWork, decode_in_sight, tokens_in_sight
from prefetch_sim.sim.cost.cpu import CpuCost
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.traces.models import catalogue
from prefetch_sim.traces.models.precision import Rate
from prefetch_sim.traces.models.spec import GroupedQueryAttention, LatentAttention, ModelSpec

# 1 TFLOPS is 1000 operations a ns, 1 GB/s a byte a ns: the sums below can be done by hand.
PLAIN = override(
    load_profile("a100-pcie-40gb"),
    {
        "compute.tflops.bf16": 1,
        "compute.memory_gb_s": 10,
        "compute.expert_efficiency": 0.5,
        "compute.launch_us": 1,
        "compute.eager_launch_us": 5,
    },
)
IDEAL = load_runtime("ideal")
EAGER = override(IDEAL, {"kernels": "eager"})
TINY = ModelSpec(
    name="tiny",
    layers=4,
    dense_layers=(0,),
    hidden=100,
    experts=8,
    top_k=2,
    expert_hidden=50,
    shared_experts=2,
    shared_hidden=50,
    dense_hidden=400,
    attention=GroupedQueryAttention(heads=4, kv_heads=2, head_dim=25),
    vocab=1000,
)


def test_decode_step_by_hand() -> None:
    """Every operator is bound by memory at one token; each kernel adds 1000 ns."""
    cost = CostModel(TINY, PLAIN, IDEAL, precision="bf16")
    step = cost.step("decode", [1], [9])
    norm = 3 * 100 * 2 / 10 + 1000
    weights = 100 * (2 * 100 + 2 * 50)
    core = 10 * (2 * 50 * 2) / 10  # 10 tokens in sight, 200 bytes each
    attention = 2 * norm + weights * 2 / 10 + core + 6000
    dense = attention + 3 * 100 * 400 * 2 / 10 + 3000
    head = 100 * 1000 * 2 / 10 + 1000 + norm
    assert step.attention_ns == (round(attention),) * 3
    assert step.prologue_ns == (round(dense), 0, 0)
    assert step.gate_ns == 100 * 8 * 2 / 10 + 2000
    assert step.shared_ns == 2 * 3 * 100 * 50 * 2 / 10 + 3000
    assert step.moe_fixed_ns == 4 * 2 * 100 * 2 / 10 + 3000
    assert step.epilogue_ns == round(head)
    assert cost.expert_launch_ns == 3000
    assert cost.expert_bytes == [30_000] * 3
    assert cost.expert_ns(0, 1) == 30_000 / 5  # half the bandwidth


def test_prefill_is_bound_by_arithmetic_and_scores_one_token() -> None:
    cost = CostModel(TINY, PLAIN, IDEAL, precision="bf16")
    tokens = 2000
    step = cost.step("prefill", [tokens], [0])
    norm = 3 * tokens * 100 * 2 / 10 + 1000
    projections = 2 * 30_000 * tokens / 1000
    pairs = tokens * (tokens + 1) // 2
    attention = 2 * norm + projections + pairs * 4 * 100 / 1000 + 6000
    assert step.attention_ns[0] == round(attention)
    # Only the last token reaches lm_head; the final norm sees all.
    assert step.epilogue_ns == round(100 * 1000 * 2 / 10 + 1000 + norm)
    assert cost.expert_ns(0, tokens) == 6 * 100 * 50 * tokens / 1000


def test_eager_mode_is_the_slower_of_launches_and_roofline() -> None:
    cost = CostModel(TINY, PLAIN, EAGER, precision="bf16")
    step = cost.step("decode", [1], [9])
    # Norms 8 kernels, grouped attention 26, gate 10; the loop visits all 8 experts, 10 each.
    assert step.attention_ns[0] == (2 * 8 + 26) * 5000
    assert step.gate_ns == 10 * 5000
    assert step.moe_fixed_ns == 8 * 10 * 5000
    assert cost.expert_launch_ns == 0
    assert cost.expert_ns(0, 1) == 0  # 6 µs of work hides under 50 µs of launches
    assert cost.expert_ns(0, 10_000) == 300_000 - 50_000


def test_quantised_experts_read_less_and_compute_at_the_bf16_rate_unless_given() -> None:
    full = CostModel(TINY, PLAIN, IDEAL, precision="bf16")
    four = CostModel(TINY, PLAIN, IDEAL, precision="mxfp4")
    assert four.expert_ns(0, 1) == round(full.expert_ns(0, 1) * 4.25 / 16)
    assert four.expert_ns(0, 9999) == full.expert_ns(0, 9999)
    fast = override(PLAIN, {"compute.tflops.fp8": 2})
    assert CostModel(TINY, fast, IDEAL, precision="fp8").expert_ns(0, 9999) == pytest.approx(
        full.expert_ns(0, 9999) / 2, abs=1
    )
    # Attention, the gate and lm_head stay in 16 bits; shared experts are stored like the routed.
    of_full, of_four = (c.step("decode", [1], [50]) for c in (full, four))
    assert of_four.attention_ns == of_full.attention_ns
    assert of_four.epilogue_ns == of_full.epilogue_ns
    assert of_four.shared_ns - 3000 == round((of_full.shared_ns - 3000) * 4.25 / 16)


def test_shared_experts_compute_at_the_rate_of_their_precision() -> None:
    """2000 tokens through two experts of 3 · 100 · 50 weights at 2000 operations a ns."""
    fast = override(PLAIN, {"compute.tflops.fp8": 2})
    step = CostModel(TINY, fast, IDEAL, precision="fp8").step("prefill", [2000], [0])
    assert step.shared_ns == 2 * 2000 * (2 * 3 * 100 * 50) / 2000 + 3000


def test_measured_expert_sizes_differ_by_layer() -> None:
    model = TINY.model_copy(update={"expert_bytes": (10_000, 20_000, 10_000)})
    cost = CostModel(model, PLAIN, IDEAL, precision="bf16")
    assert [cost.expert_ns(layer, 1) for layer in range(3)] == [2000, 4000, 2000]
    assert cost.expert_bytes == [10_000, 20_000, 10_000]


def test_sliding_window_binds_every_second_layer() -> None:
    cost = CostModel(load_model("gpt-oss-20b"), load_profile("rtx-4090"), IDEAL, precision="mxfp4")
    short, long = (cost.step("decode", [1], [c]).attention_ns for c in (127, 20_000))
    assert len(set(short)) == 1
    assert long[0::2] == short[0::2]
    assert len(set(long[1::2])) == 1
    assert long[1] > short[1]


def test_a_dense_layer_attends_through_its_window() -> None:
    """Layer 0, which is dense, and layer 2 see 4 of the 100 tokens in sight."""
    shape = GroupedQueryAttention(heads=4, kv_heads=2, head_dim=25, sliding_window=4)
    model = TINY.model_copy(update={"attention": shape})
    step = CostModel(model, PLAIN, IDEAL, precision="bf16").step("decode", [1], [99])
    # As in the first test: norms, projections, kernels; 200 bytes of KV a token in sight.
    unseen = 2 * 1060 + 30_000 * 2 / 10 + 6000
    whole, local = unseen + 100 * 200 / 10, unseen + 4 * 200 / 10
    assert step.attention_ns == (whole, local, whole)
    assert step.prologue_ns == (local + 3 * 100 * 400 * 2 / 10 + 3000, 0, 0)


def test_trailing_dense_layers_are_in_the_epilogue() -> None:
    model = TINY.model_copy(update={"dense_layers": (1, 3)})
    step = CostModel(model, PLAIN, IDEAL, precision="bf16").step("decode", [1], [0])
    usual = CostModel(TINY, PLAIN, IDEAL, precision="bf16").step("decode", [1], [0])
    assert step.prologue_ns == (0, usual.prologue_ns[0])
    assert step.epilogue_ns == usual.epilogue_ns + usual.prologue_ns[0]


def test_latent_attention_decodes_absorbed() -> None:
    shape = load_model("deepseek-v2-lite").attention
    decode = AttentionWork.of(shape, 2048, "decode")
    assert decode.kv_bytes == (512 + 64) * 2
    assert decode.pair_flops == 2 * 16 * (512 + 64) + 2 * 16 * 512
    assert decode.weights == (2048 * 16 * 192 + 2048 * 576 + 512 * 16 * 256 + 16 * 128 * 2048)
    prefill = AttentionWork.of(shape, 2048, "prefill")
    assert prefill.pair_flops == 2 * 16 * (128 + 64) + 2 * 16 * 128
    assert prefill.weights == decode.weights
    # Each head's key (128 + 64) and value (128), 2 bytes an element, written once and read once.
    assert prefill.kv_bytes == 2 * 16 * (128 + 64 + 128) * 2
    assert decode.cached_flops == 0
    assert prefill.cached_flops == 2 * 512 * 16 * (128 + 128)


def test_latent_prefill_expands_what_was_cached() -> None:
    """One new token after 1000 cached: those are expanded, besides one row of projections."""
    shape = LatentAttention(heads=2, kv_rank=50, nope_dim=20, rope_dim=10, v_dim=20)
    model = TINY.model_copy(update={"attention": shape})
    memory = override(PLAIN, {"compute.memory_gb_s": 1e9})  # arithmetic alone counts
    step = CostModel(model, memory, IDEAL, precision="bf16").step("prefill", [1], [1000])
    weights = 100 * 2 * 30 + 100 * 60 + 50 * 2 * 40 + 2 * 20 * 100
    pairs = 1001 * (2 * 2 * 30 + 2 * 2 * 20)
    cached = 1000 * 2 * 50 * 2 * 40
    flops = 2 * weights + pairs + cached
    assert step.attention_ns[0] == pytest.approx(2 * 1000 + 8 * 1000 + flops / 1000, abs=1)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30)), min_size=1, max_size=4),
    st.one_of(st.none(), st.integers(1, 12)),
)
def test_tokens_in_sight_is_the_causal_mask(
    requests: list[tuple[int, int]], window: int | None
) -> None:
    pairs = read = 0
    for new, cached in requests:
        seen = set()
        for position in range(cached, cached + new):
            first = 0 if window is None else max(0, position + 1 - window)
            pairs += position + 1 - first
            seen |= set(range(first, position + 1))
        read += len(seen)
    counts, contexts = [n for n, _ in requests], [c for _, c in requests]
    assert tokens_in_sight(counts, contexts, window) == (pairs, read)
    ones = [1] * len(contexts)
    assert tokens_in_sight(ones, contexts, window) == (decode_in_sight(contexts, window),) * 2


@pytest.mark.parametrize("name", catalogue.names())
@pytest.mark.parametrize("kernels", ["fused", "eager"])
def test_more_work_is_never_faster(name: str, kernels: str) -> None:
    model = load_model(name)
    cost = CostModel(
        model,
        load_profile("l4"),
        override(IDEAL, {"kernels": kernels}),
        precision=model.precision,
    )
    one = cost.step("decode", [1], [100])
    more = (
        cost.step("decode", [1], [5000]),
        cost.step("decode", [1] * 8, [100] * 8),
        cost.step("prefill", [101], [0]),
    )
    for other in more:
        assert len(other.attention_ns) == len(other.prologue_ns) == model.moe_layers
        assert all(a >= b for a, b in zip(other.attention_ns, one.attention_ns))
        assert other.gate_ns >= one.gate_ns
        assert other.shared_ns >= one.shared_ns
        assert other.epilogue_ns >= one.epilogue_ns
    assert cost.expert_ns(0, 4096) > cost.expert_ns(0, 1)


def test_predictor_costs_launches_then_its_weights_then_its_operations() -> None:
    cost = CostModel(TINY, PLAIN, IDEAL, precision="bf16")
    assert cost.predictor_ns(10, 10, 1) == pytest.approx(3001, abs=1)
    assert cost.predictor_ns(10, 100_000, 1) == 13_000
    assert cost.predictor_ns(1e6, 100_000, 100) == 103_000


# Milliseconds of DeepSeek-V2-Lite in eager PyTorch, arXiv 2511.10676 (mean of 50 samples).
PAPER = {
    "v100-sxm2-32gb": (0.129, 1.128, 0.129, 0.143, 10.31),
    "a100-pcie-40gb": (0.077, 0.761, 0.082, 0.097, 6.20),
    "a100-pcie-80gb": (0.075, 0.739, 0.080, 0.102, 6.81),
}


@pytest.mark.parametrize("hardware", PAPER)
def test_eager_operators_against_the_paper(hardware: str) -> None:
    """Within 15 %; the launch counts were fitted to these, one set for all three GPUs."""
    model = load_model("deepseek-v2-lite")
    cost = CostModel(model, load_profile(hardware), EAGER, precision="bf16")
    simulated = cost.operators("decode", 300)
    assert list(simulated) == [
        "input_norm",
        "self_attention",
        "post_norm",
        "expert_selection",
        "expert_computation",
    ]
    for (name, ns), measured in zip(simulated.items(), PAPER[hardware]):
        assert ns / 1e6 == pytest.approx(measured, rel=0.15), name
    assert cost.predictor_ns(2 * 2048 * 2112, 2 * 2048 * 2112, 1) / 1e6 == pytest.approx(
        0.15, rel=0.3
    )


@pytest.mark.parametrize(("context", "attention"), [(16, 28.8), (1000, 33.9), (8000, 49.0)])
def test_fused_layer_against_a_profile_of_qwen3(context: int, attention: float) -> None:
    """µs a layer measured on a 1.54 TB/s GPU (casys-kaist/LLMServingSim), one token.

    qkv, qk-norm, rope, output and attention; experts 50.2; lm_head 420. Tolerance 20 %: the
    measured projections partly hit a 96 MB L2 cache, which the roofline does not know.
    """
    profile = override(
        load_profile("rtx-4090"),
        {
            "compute.memory_gb_s": 1540,
            "compute.expert_efficiency": 1,
            "compute.tflops.bf16": 400,
            "compute.launch_us": 1.0,  # CUDA graphs
        },
    )
    cost = CostModel(load_model("qwen3-30b-a3b"), profile, IDEAL, precision="bf16")
    operators = cost.operators("decode", context)
    assert operators["self_attention"] / 1e3 == pytest.approx(attention, rel=0.2)
    assert operators["expert_computation"] / 1e3 == pytest.approx(50.2, rel=0.2)
    step = cost.step("decode", [1], [context])
    assert step.epilogue_ns / 1e3 == pytest.approx(420, rel=0.2)
    # Marginal time of one more activated expert: 6.13 µs.
    assert cost.expert_ns(0, 1) / 1e3 == pytest.approx(6.13, rel=0.01)


def test_fused_mixtral_expert_on_an_h100() -> None:
    """129 µs measured for one (casys-kaist/LLMServingSim), from which the profile's share is."""
    cost = CostModel(load_model("mixtral-8x7b"), load_profile("h100-sxm"), IDEAL, precision="bf16")
    assert cost.expert_ns(0, 1) / 1e3 == pytest.approx(129, rel=0.02)


def test_step_and_operators_agree() -> None:
    model = load_model("qwen3-30b-a3b")
    cost = CostModel(model, load_profile("l4"), IDEAL, precision="bf16")
    for phase, step in (
        ("decode", cost.step("decode", [1], [700])),
        ("prefill", cost.step("prefill", [700], [0])),
    ):
        parts = cost.operators(phase, 700)  # type: ignore[arg-type]
        total = parts["input_norm"] + parts["self_attention"] + parts["post_norm"]
        assert step.attention_ns[0] == pytest.approx(total, abs=2)  # each is rounded by itself
        assert step.gate_ns == parts["expert_selection"]


# An expert of TINY: 3 * 100 * 50 weights, twice as many operations a token.
HOST = override(
    PLAIN,
    {
        "cpu.expert_gb_s.bf16": 4,
        "cpu.expert_gb_s.mxfp4": 2.5,
        "cpu.tflops.bf16": 0.1,
        "cpu.tflops.int4": 0.3,
        "cpu.start_us": 7,
        "host_link.gb_s": 8,
        "host_link.isolated_us": 3,
        "contention.cpu": 0.8,
        "contention.host_link": 0.9,
    },
)
HANDING = override(IDEAL, {"cpu.submit_us": 20})


def on_cpu(rate: Rate = "bf16", machine: HardwareProfile = HOST, size: int = 30_000) -> CpuCost:
    return CpuCost(TINY, machine, HANDING, [size, 2 * size, size], rate)


def test_what_the_cpu_takes_beside_its_experts_by_hand() -> None:
    """Handing over, a parallel region, and 16-bit states of each token down and up again."""
    assert [on_cpu().fixed_ns(tokens) for tokens in (1, 64)] == [
        20_000 + 7_000 + 2 * (3_000 + 200 // 8),
        20_000 + 7_000 + 2 * (3_000 + 64 * 200 // 8),
    ]


def test_an_expert_on_the_cpu_is_read_or_multiplied_whichever_takes_longer() -> None:
    cost = on_cpu()
    assert cost.expert_ns(0, 1, contended=False) == 30_000 / 4  # 7500: bytes; 300 of operations
    assert cost.expert_ns(1, 1, contended=False) == 60_000 / 4  # of its own layer's size
    assert cost.expert_ns(0, 25, contended=False) == 7_500
    assert cost.expert_ns(0, 26, contended=False) == 26 * 30_000 / 100  # 7800: operations


def test_contention_takes_of_the_cpu_s_bandwidth_alone() -> None:
    cost = on_cpu()
    assert cost.expert_ns(0, 1, contended=True) == 30_000 / (0.8 * 4)
    assert cost.expert_ns(0, 40, contended=True) == 40 * 30_000 / 100
    alone = on_cpu(machine=HOST.model_copy(update={"contention": None}))
    assert alone.expert_ns(0, 1, contended=True) == 7_500


def test_loads_take_of_the_bandwidth_alone() -> None:
    """Of what computes beside them: not of operations, launches, predictors or the runtime."""
    runtime = override(IDEAL, {"step_us": 3, "layer_us": 2, "routing_us": 1})
    whole = CostModel(TINY, PLAIN, runtime, precision="bf16")
    assert whole.beside_loads is None
    machine = override(PLAIN, {"compute.beside_loads": 0.5})
    cost = CostModel(TINY, machine, runtime, precision="bf16")
    slower = cost.beside_loads
    assert slower is not None
    assert slower.beside_loads is None
    half = override(PLAIN, {"compute.memory_gb_s": PLAIN.compute.memory_gb_s.value / 2})
    halved = CostModel(TINY, half, runtime, precision="bf16")
    for phase, tokens in (("decode", 1), ("prefill", 3000)):
        asked: Any = (phase, [tokens], [9])
        assert cost.step(*asked) == whole.step(*asked)
        assert slower.step(*asked) == halved.step(*asked)
    assert slower.expert_ns(0, 1) == halved.expert_ns(0, 1) > cost.expert_ns(0, 1)
    assert slower.expert_ns(0, 9999) == cost.expert_ns(0, 9999)  # operations
    assert cost.predictor_ns(1e4, 1e6, 1) == whole.predictor_ns(1e4, 1e6, 1)
    all_left = override(PLAIN, {"compute.beside_loads": 1})
    assert CostModel(TINY, all_left, runtime, precision="bf16").beside_loads is None


@pytest.mark.parametrize(
    ("rate", "one", "many"),
    [
        ("bf16", 7_500, 30_000),
        ("mxfp4", 12_000, 30_000),  # its own bandwidth, bf16's operations
        ("int4", 7_500, 10_000),  # bf16's bandwidth, its own operations
        ("fp8", 7_500, 30_000),  # no figure of its own
    ],
)
def test_experts_on_the_cpu_have_the_rates_of_their_precision(
    rate: Rate, one: int, many: int
) -> None:
    cost = on_cpu(rate)
    assert cost.expert_ns(0, 1, contended=False) == one
    assert cost.expert_ns(0, 100, contended=False) == many


def test_a_model_s_experts_on_the_cpu_are_as_they_are_stored() -> None:
    """Bytes and rates are those of the precision: MXFP4 has 17 of them for 32 weights."""
    cost = CostModel(TINY, HOST, HANDING, precision="mxfp4")
    assert cost.cpu is not None
    assert cost.expert_bytes[0] == pytest.approx(15_000 * 17 / 32, abs=1)
    assert cost.cpu.expert_ns(0, 1, contended=False) == round(cost.expert_bytes[0] / 2.5)


def test_a_machine_without_a_cpu_has_no_such_cost() -> None:
    none = HOST.model_copy(update={"cpu": None, "contention": None})
    assert CostModel(TINY, none, HANDING, precision="bf16").cpu is None
