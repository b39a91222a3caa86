"""Recordings as other tools would have written them: one writer for each importer."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prefetch_sim.traces.format import DECODE, PREFILL, Trace, TraceMeta
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec

# Three layers, the first of them dense: layers 1 and 2 route.
SHAPE = ModelSpec(
    name="tiny",
    layers=3,
    dense_layers=(0,),
    hidden=8,
    experts=8,
    top_k=2,
    expert_hidden=4,
    dense_hidden=16,
    attention=GroupedQueryAttention(heads=2, kv_heads=1, head_dim=4),
    vocab=100,
)


def make_trace(
    model: ModelSpec, lengths: list[tuple[int, int]], seed: int, absent: float = 0
) -> Trace:
    """Requests 0, 1, ... of so many prompt and decode tokens; a share of the sets is absent."""
    rng = np.random.default_rng(seed)
    layers, experts, top_k = model.topology
    tokens = [prompt + decode for prompt, decode in lengths]
    sets = rng.random((sum(tokens), layers, experts)).argsort(axis=2)[:, :, :top_k]
    sets[rng.random(sets.shape[:2]) < absent] = -1
    phases = [[PREFILL] * prompt + [DECODE] * decode for prompt, decode in lengths]
    return Trace(
        path=None,
        meta=TraceMeta(model=model),
        request_id=np.repeat(np.arange(len(lengths), dtype=np.int32), tokens),
        position=np.concatenate([np.arange(n, dtype=np.int32) for n in tokens]),
        phase=np.array([*chain(*phases)], np.int8),
        token_id=None,
        experts=sets.astype(np.int16),
        weights=None,
    )


def records(trace: Trace) -> list[tuple[int, int, int, int, list[int]]]:
    """(request, position, phase, transformer layer, experts) of every set, token by token."""
    return [
        (*(int(of[row]) for of in (trace.request_id, trace.position, trace.phase)), name, experts)
        for row, sets in enumerate(trace.experts.tolist())
        for name, experts in zip(trace.model.moe_layer_indices, sets)
    ]


def write_moe_sim(path: Path, trace: Trace) -> None:
    lines = [
        {
            "request_id": request,
            "phase": ("prefill", "decode")[phase],
            "step_id": position,
            "token_position": position,
            "layer_id": layer,
            "expert_ids": [] if experts[0] < 0 else experts,
        }
        for request, position, phase, layer, experts in records(trace)
    ]
    # Layer by layer, requests in turn: as a batch runs.
    lines.sort(key=lambda line: (line["token_position"], line["layer_id"]))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_moe_beyond(path: Path, trace: Trace) -> None:
    rows = sorted(records(trace), key=lambda record: record[3])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Layer ID", "Batch Number", "Token", "Activated Expert IDs"])
        writer.writerows(
            [layer, request, f"Ġ{position},", experts]
            for request, position, _, layer, experts in rows
        )


def write_megatron(path: Path, trace: Trace) -> None:
    """Each prompt in one pass, then a pass for each token."""
    passes = []
    for _, first, last in trace.requests:
        decode = first + int((trace.phase[first:last] == PREFILL).sum())
        passes += [(first, decode)] if first < decode else []
        passes += [(row, row + 1) for row in range(decode, last)]
    with path.open("w") as file:
        for step, (first, last) in enumerate(passes):
            for layer, name in enumerate(trace.model.moe_layer_indices):
                experts = trace.experts[first:last, layer].tolist()
                record: dict[str, Any] = {"step": step, "stage": "pre_dispatch", "block": "decoder"}
                record |= {"layer": name, "rank": 0, "num_tokens": last - first}
                record |= {"topk": trace.model.top_k, "top_indices": experts}
                file.write(json.dumps(record) + "\n")


def write_imp(path: Path, trace: Trace) -> None:
    path.write_text(json.dumps([[layer, *experts] for *_, layer, experts in records(trace)]))


def write_vllm(path: Path, trace: Trace) -> None:
    arrays = {}
    for request, first, last in trace.requests:
        experts, phase = trace.experts[first:last], trace.phase[first:last]
        arrays[f"prompt_routed_experts_{request}"] = experts[phase == PREFILL]
        arrays[f"routed_experts_{request}"] = experts[phase == DECODE]
    with path.open("wb") as file:
        np.savez(file, **arrays)


def passes(trace: Trace) -> Iterator[tuple[int, int]]:
    """First row of each pass and the row after its last: prompts at once, then token by token."""
    for _, first, last in trace.requests:
        decode = first + int((trace.phase[first:last] == PREFILL).sum())
        if first < decode:
            yield first, decode
        yield from ((row, row + 1) for row in range(decode, last))


def write_csv(path: Path, trace: Trace) -> None:
    lines = [
        f"{request},{position},{('prefill', 'decode')[phase]},{layer},{' '.join(map(str, experts))}"
        for request, position, phase, layer, experts in records(trace)
    ]
    path.write_text("\n".join(["request,position,phase,layer,experts", *lines]) + "\n")


def write_rows(path: Path, trace: Trace) -> None:
    """Plain CSV's columns as JSON lines; no experts where the layer did not route."""
    json_lines(
        path,
        *(
            {
                "request": request,
                "position": position,
                "phase": ("prefill", "decode")[phase],
                "layer": layer,
                "experts": [] if experts[0] < 0 else experts,
            }
            for request, position, phase, layer, experts in records(trace)
        ),
    )


def write_moe_trace(path: Path, trace: Trace) -> None:
    lines = ["layer,expert"]
    for first, last in passes(trace):
        for layer, name in enumerate(trace.model.moe_layer_indices):
            lines += [f"{name},{e}" for e in trace.experts[first:last, layer].ravel().tolist()]
    path.write_text("\n".join(lines) + "\n")


def write_colibri(path: Path, trace: Trace) -> None:
    lines, call = [], 0
    for first, last in passes(trace):
        for layer, name in enumerate(trace.model.moe_layer_indices):
            call += 1
            for row, experts in enumerate(trace.experts[first:last, layer].tolist()):
                pairs = " ".join(f"{expert}:0.5" for expert in experts)
                lines.append(f"{call} {row} {name} {pairs}")
    path.write_text("\n".join(lines) + "\n")


def write_tensorrt(path: Path, trace: Trace) -> None:
    from safetensors.numpy import save_file

    tensors = {
        f"{iteration}_{name}": np.ascontiguousarray(trace.experts[first:last, layer], np.int32)
        for iteration, (first, last) in enumerate(passes(trace))
        for layer, name in enumerate(trace.model.moe_layer_indices)
    }
    save_file(tensors, path)


def all_layers(trace: Trace, beside: int) -> Any:
    """Experts [T, all layers, k], ``beside`` in those without a router."""
    out = np.full((trace.tokens, trace.model.layers, trace.model.top_k), beside, np.int32)
    out[:, list(trace.model.moe_layer_indices)] = trace.experts
    return out


def write_sglang(path: Path, trace: Trace) -> None:
    """One request after another; physical experts are in another order than the model's."""
    import torch

    experts, layers, width = trace.model.experts, trace.model.layers, trace.model.top_k
    logical = np.stack([np.roll(np.arange(experts), layer + 1) for layer in range(layers)])
    physical = np.argsort(logical, axis=1)
    whole = all_layers(trace, -1)
    found = []
    for number, (first, last) in enumerate(passes(trace)):
        ids = np.full((layers, last - first, 8), -1, np.int32)
        for layer in range(layers):
            chosen = whole[first:last, layer]
            ids[layer, :, :width] = np.where(chosen < 0, -1, physical[layer][chosen])
        prompt = trace.phase[first] == PREFILL
        found.append(
            {
                "forward_pass_id": number,
                "rank": 0,
                "gatherer_key": "primary",
                "input_ids": list(range(first, last)),
                "positions": trace.position[first:last].tolist(),
                "extend_seq_lens": [last - first] if prompt else None,
                "forward_mode": 1 if prompt else 2,
                "topk_ids_of_layer": torch.from_numpy(ids),
                "misc_objects": [],
            }
        )
    content = {"records": found, "last_physical_to_logical_map": torch.from_numpy(logical)}
    torch.save(content, path)


def write_responses(path: Path, trace: Trace) -> None:
    """SGLang's: int32 of all layers, whose shape is not said."""
    lines = []
    for _, first, last in trace.requests:
        prompt = int((trace.phase[first:last] == PREFILL).sum())
        raw = base64.b64encode(all_layers(trace, 0)[first:last].tobytes()).decode()
        told = {"prompt_tokens": prompt, "completion_tokens": last - first - prompt + 1}
        lines.append(json.dumps({"text": "...", "meta_info": {**told, "routed_experts": raw}}))
    path.write_text("\n".join(lines))


def write_moe_atlas(path: Path, trace: Trace) -> None:
    lines = []
    for _, first, last in trace.requests:
        activations = [
            {"layer": name, "token_idx": row, "expert_idx": expert, "gate_weight": 0.5 / (slot + 1)}
            for row in range(last - first)
            for layer, name in enumerate(trace.model.moe_layer_indices)
            for slot, expert in enumerate(trace.experts[first + row, layer].tolist())
        ]
        about = {"model_id": "m", "num_layers": trace.model.layers, "text": "a b"}
        about |= {"num_experts": trace.model.experts, "top_k": trace.model.top_k}
        words = [str(row) for row in range(last - first)]
        lines.append(json.dumps({**about, "token_strs": words, "activations": activations}))
    path.write_text("\n".join(lines))


def write_flame(path: Path, trace: Trace) -> None:
    path.mkdir()
    for layer, name in enumerate(trace.model.moe_layer_indices):
        ids = trace.experts[:, layer].tolist()
        scores = pa.array([[0.5] * trace.model.top_k] * trace.tokens, pa.list_(pa.float32()))
        columns = {"scores": scores, "indices": pa.array(ids, pa.list_(pa.int16()))}
        pq.write_table(pa.table(columns), path / f"layer_{name:02d}.parquet")


def write_parquet(path: Path, trace: Trace) -> None:
    """As pandas does: lists of any length, and no metadata of ours."""
    sets = [[s if s[0] >= 0 else None for s in row] for row in trace.experts.tolist()]
    columns = {
        "request_id": trace.request_id,
        "position": trace.position,
        "phase": [("prefill", "decode")[phase] for phase in trace.phase],
        "experts": pa.array(sets, pa.list_(pa.list_(pa.int64()))),
    }
    pq.write_table(pa.table(columns), path)


def write_route_trace(path: Path, trace: Trace) -> None:
    model = trace.model
    lines = [
        "# route_trace v1",
        f"# model={model.name}.gguf arch=none n_layer={model.layers} n_expert={model.experts} "
        f"n_expert_used={model.top_k}",
        *(f"# layer={name} expert_bytes=100" for name in model.moe_layer_indices),
        "turn,phase,step,layer,slot,expert,weight",
    ]
    for request, position, phase, layer, experts in records(trace):
        lines += [
            f"{request},{phase},{position},{layer},{slot},{expert},0.5"
            for slot, expert in enumerate(experts)
        ]
    path.write_text("\n".join(lines) + "\n")


def write_gpt_oss_npz(path: Path, trace: Trace) -> None:
    bounds = [first for _, first, _ in trace.requests]
    with path.open("wb") as file:
        np.savez(
            file,
            expert_ids=trace.experts,
            expert_probs=np.full(trace.experts.shape, 0.5, np.float16),
            request_offsets=np.array([*bounds, trace.tokens]),
            token_local_id=np.arange(trace.tokens),
            position=trace.position,
        )


def write_gpt_oss_json(path: Path, trace: Trace) -> None:
    steps = [
        {
            f"token_{position}": {
                f"layer_{layer}": {"selected_experts": ids, "selected_probs": [0.5] * len(ids)}
                for layer, ids in enumerate(sets)
            }
        }
        for position, sets in zip(trace.position.tolist(), trace.experts.tolist())
    ]
    path.write_text(json.dumps({"original_prompt": "?", "router_data": steps}))


Writer = Callable[[Path, Trace], None]
# Formats that leave the model open, and were here first: the tests of damage are theirs.
MINIMAL: dict[str, Writer] = {
    "moe-sim": write_moe_sim,
    "moe-beyond": write_moe_beyond,
    "megatron": write_megatron,
    "imp": write_imp,
    "vllm": write_vllm,
}
WRITERS: dict[str, Writer] = {
    **MINIMAL,
    "colibri": write_colibri,
    "csv": write_csv,
    "flame-moe": write_flame,
    "gpt-oss-json": write_gpt_oss_json,
    "gpt-oss-npz": write_gpt_oss_npz,
    "moe-atlas": write_moe_atlas,
    "moe-trace": write_moe_trace,
    "parquet": write_parquet,
    "responses": write_responses,
    "route_trace": write_route_trace,
    "rows": write_rows,
    "sglang-recorder": write_sglang,
    "tensorrt-llm": write_tensorrt,
}
# Those that say which tokens are a prompt's.
PROMPTS = (
    "colibri", "csv", "megatron", "moe-sim", "moe-trace", "parquet", "responses", "route_trace",
    "rows", "sglang-recorder", "tensorrt-llm", "vllm",
)  # fmt: skip
NEEDS = {"sglang-recorder": "torch", "tensorrt-llm": "safetensors"}


# Two layers, four experts: small enough to write by hand.
TINY = ModelSpec.model_validate(
    SHAPE.model_dump() | {"layers": 2, "dense_layers": (), "experts": 4}
)


def json_lines(path: Path, *content: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in content))
    return path


def notes(trace: Trace) -> str:
    return trace.meta.recorded.get("notes", "")
