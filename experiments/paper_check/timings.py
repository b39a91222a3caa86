"""The paper's timing table again: operators from the cost model, loads from simulated runs."""

from __future__ import annotations

from typing import Any, Literal

from prefetch_sim.experiments.paper_check.paper import TIMINGS
from prefetch_sim.experiments.paper_check.plan import point
from prefetch_sim.hardware_profiles import RuntimeProfile, load_profile, load_runtime, override
from prefetch_sim.sim.config.files import Tree
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup import inputs as read

MODEL = "deepseek-v2-lite"
_KERNELS: tuple[Literal["eager", "fused"], ...] = ("eager", "fused")
CONTEXT = 300  # in eager mode launches outweigh the reads of any context near it
OPERATORS = ("input_norm", "self_attention", "post_norm", "expert_selection", "expert_computation")


def _runtime(kernels: str) -> RuntimeProfile:
    """It costs nothing but its launches."""
    return override(load_runtime("ideal"), {"kernels": kernels})


def operators() -> list[dict[str, Any]]:
    """One row a device and operator: paper and modelled ms, deviation in %."""
    rows = []
    for device, paper in TIMINGS.items():
        cost = CostModel(
            load_model(MODEL), load_profile(device), _runtime("eager"), precision="bf16"
        )
        modelled = cost.operators("decode", CONTEXT)
        for name in OPERATORS:
            rows.append(_row(device, name, getattr(paper, name), modelled[name] / 1e6))
    return rows


def loads(plan: Tree) -> list[dict[str, Any]]:
    """One row a device, source and link: six experts into the GPU, one layer of one token.

    ``link`` is ``check`` for the links that the check runs with, and ``independent`` for those
    whose rate comes from elsewhere than the paper: Gen3 for the V100, the profile's own Gen4 for
    the A100 40 GB.
    """
    gen3 = {"name": "v100-sxm2-32gb", "host_link": {"gb_s": 12.35, "isolated_us": 28}}
    independent = {"v100-sxm2-32gb": gen3, "a100-pcie-40gb": "a100-pcie-40gb"}
    rows = []
    for device, paper in TIMINGS.items():
        for source in ("pinned", "disk"):
            ms = load_ms(plan, device, source)
            row = _row(device, source, getattr(paper, source), ms)
            rows.append({**row, "link": "check"})
        if device in independent:
            changed = {**plan, "devices": {device: {"hardware": independent[device]}}}
            row = _row(device, "pinned", paper.pinned, load_ms(changed, device, "pinned"))
            rows.append({**row, "link": "independent"})
    return rows


def windows(plan: Tree) -> list[dict[str, Any]]:
    """One row a device and runtime: ms from a layer's normed input to its routing; its experts'."""
    rows = []
    for device in TIMINGS:
        six = load_ms(plan, device, "pinned")
        model = load_model(MODEL)
        for kernels in _KERNELS:
            cost = CostModel(model, load_profile(device), _runtime(kernels), precision="bf16")
            step = cost.step("decode", [1], [CONTEXT])
            window = step.attention_ns[0] - step.norm_ns + step.gate_ns
            experts = cost.operators("decode", CONTEXT)["expert_computation"]
            rows.append(
                {
                    "device": device,
                    "runtime": kernels,
                    "window_ms": round(window / 1e6, 4),
                    "experts_ms": round(experts / 1e6, 4),
                    "load_one_ms": round(six / model.top_k, 4),
                    "load_six_ms": round(six, 4),
                }
            )
    return rows


def load_ms(plan: Tree, device: str, source: Literal["pinned", "disk"]) -> float:
    """ms from asking for the last MoE layer's six experts of one token to the last one landed.

    All six are absent. From disk, host memory has room for six experts and holds the layer
    before's.
    """
    one_token = {**plan["base"], "trace": {**plan["base"]["trace"], "decode": 1}}
    variant = {"host": {"capacity": {"experts": 6}}} if source == "disk" else {}
    own = {**plan, "base": one_token, "variants": {source: variant}}
    own["base"] = {**own["base"], "cache": {"capacity": {"experts": 12}}}
    config = point(own, device, "eager", source, "none").config
    done = simulate(read.load(config))
    loads = done.loads
    last = loads.column("target") == done.inputs.workload.layers - 1
    issued, landed = loads.column("issued")[last], loads.column("landed")[last]
    assert len(landed) == done.inputs.workload.top_k
    return float(landed.max() - issued.min()) / 1e6


def _row(device: str, what: str, paper: float, simulated: float) -> dict[str, Any]:
    return {
        "device": device,
        "what": what,
        "paper_ms": paper,
        "simulated_ms": round(simulated, 4),
        "deviation_pct": round(100 * (simulated / paper - 1), 1),
    }
