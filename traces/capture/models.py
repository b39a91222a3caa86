"""Loading a model to record: what it is, its shape, and where its text ends."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError

from prefetch_sim.traces.capture.checkpoint import (
    described,
    expert_bytes,
    expert_tensors,
    plain_dtype,
    with_sizes,
)
from prefetch_sim.traces.capture.refusals import SEVERAL, refusal
from prefetch_sim.traces.capture.roles import MoELayer, Roles, find_roles
from prefetch_sim.traces.errors import first_line
from prefetch_sim.traces.models.hf_config import ModelConfigError, read_hf_config
from prefetch_sim.traces.models.keys import Config
from prefetch_sim.traces.models.precision import Published
from prefetch_sim.traces.models.quantisation import QuantisationError, published
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec
from prefetch_sim.traces.trace import TraceError

SAMPLED = 1024  # numbers of a matrix that stand for it in the digest

_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d{1,3})?")

# What transformers raises for a config that says nonsense, or a checkpoint that is none.
_CANNOT_LOAD = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(OSError, RuntimeError, ImportError, SafetensorError, StrictDataclassError),
)


@dataclass(frozen=True)
class Loaded:
    model: Any
    roles: Roles
    spec: ModelSpec
    source: Path | str  # folder or hub id
    inferred: bool = False  # its shape is from what was seen, not from its config
    stored: str = ""  # in what its files have their weights, in words

    @property
    def device(self) -> torch.device:
        found: torch.device = next(self.model.parameters()).device
        return found

    @cached_property
    def digest(self) -> str:
        """Of the model that a predictor is made for: the routers whole, samples of all else."""
        routers = {v.data_ptr() for p in self.roles.moe for v in p.router.state_dict().values()}
        whole = hashlib.blake2b(digest_size=8)
        for name, values in sorted(self.model.state_dict().items()):
            flat = values.flatten()
            if values.data_ptr() not in routers:  # reading tens of gigabytes would take minutes
                flat = flat[:: max(1, len(flat) // SAMPLED)]
            whole.update(name.encode())
            whole.update(flat.float().cpu().numpy().tobytes())
        return whole.hexdigest()

    @property
    def stop(self) -> frozenset[int]:
        """Tokens that end a text."""
        said = self.model.generation_config.eos_token_id
        if said is None:
            said = self.model.config.get_text_config().eos_token_id
        return frozenset([said] if isinstance(said, int) else said or ())


def load_model(source: str, device: str = "cpu") -> Loaded:
    """A model folder, its config.json or a hub id, in the precision it is stored in, to record.

    Raises TraceError for one that is not there, of an unknown architecture, or dense.
    """
    check_device(device)
    path = Path(source)
    if path.name == "config.json" and path.is_file():
        path = path.parent
        source = str(path)
    if path.is_absolute() and not path.exists():  # no hub id begins so
        raise TraceError(f"{source}: no such folder")
    if path.exists() and not (path / "config.json").is_file():
        raise TraceError(f"{source}: no config.json in it: not a model folder")
    transformers.utils.logging.disable_progress_bar()  # ours is the only one
    transformers.utils.logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    try:
        # False, not nothing: else transformers asks on the terminal.
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
        if config.is_encoder_decoder:
            raise TraceError(f"{source}: {SEVERAL}")
        quantised = getattr(config, "quantization_config", None) or {}
        # MXFP4 kernels (GPT-OSS) choose and run experts in one, where no hook can look.
        wide = (
            {"quantization_config": transformers.Mxfp4Config(dequantize=True)}
            if quantised.get("quant_method") == "mxfp4"
            else {}
        )
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            source, dtype="auto", output_loading_info=True, trust_remote_code=False, **wide
        )
        model = model.to(device).eval()
    except TraceError:
        raise
    except _CANNOT_LOAD as error:
        here = "" if path.exists() else "no folder here; as a model's id "
        raise TraceError(f"{source}: {here}{refusal(error)}") from None
    missing = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
    if missing:  # transformers would make up random ones
        raise TraceError(f"{source}: the checkpoint has no weights {missing[0]}")
    try:
        roles = find_roles(model)
    except _CANNOT_LOAD as error:
        raise TraceError(f"{source}: {first_line(error)}") from None
    name = (path.name or path.resolve().name) if path.exists() else source.rsplit("/", 1)[-1]
    experts = expert_tensors(source)
    stated = _stated(config, plain_dtype(experts) or str(model.dtype))
    spec, inferred = model_spec(config.get_text_config(), roles, name, stated)
    sizes = expert_bytes(experts, spec)
    known = _precision(stated, roles) is not None
    spec = with_sizes(spec, sizes, known)
    stored = described(spec) if known or sizes else "quantised in a way not known: 16 bits assumed"
    return Loaded(model, roles, spec, source, inferred, stored)


def check_device(device: str) -> None:
    """Raises TraceError for what is no device, or is not there; makes it the current one."""
    if not _DEVICE.fullmatch(device):
        raise TraceError(f"--device {device}: cpu or cuda")
    try:
        found = torch.zeros(1, device=device).device
        if found.index:  # cuda:1: events and waiting are of the current device
            torch.accelerator.set_device_index(found.index)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TraceError(f"--device {device}: {first_line(error)}") from None


def _stated(config: Any, dtype: str) -> Config:
    """What is said of the text model, stored in ``dtype`` where it is not quantised."""
    text, whole = config.get_text_config().to_dict(), config.to_dict()
    quantised = text.get("quantization_config") or whole.get("quantization_config")
    return {**text, "quantization_config": quantised, "dtype": dtype}


def _precision(stated: Config, roles: Roles) -> Published | None:
    """None where the checkpoint is quantised in a way that is not known."""
    try:
        return published(stated, {}, roles.layers, roles.experts)
    except QuantisationError:
        return None


def model_spec(
    config: Any, roles: Roles, name: str, stated: Config | None = None
) -> tuple[ModelSpec, bool]:
    """The shape for the simulator, checked against what was seen to route; whether inferred.

    ``stated``: what ``config`` says, and its checkpoint beside it.
    """
    stated = config.to_dict() if stated is None else stated
    routing = tuple(part.index for part in roles.moe)
    inferred = False
    try:
        # A quantisation that cannot be read is no reason to guess the shape.
        spec = read_hf_config(stated, name, precision="bf16")
    except ModelConfigError:
        spec, inferred = _seen_spec(config, roles, name), True
        stored = _precision(stated, roles)
        spec = spec.model_copy(update={"precision": stored} if stored else {})
    if (spec.moe_layer_indices, spec.experts, spec.top_k) != (
        routing,
        roles.experts,
        roles.top_k,
    ):
        raise TraceError(
            f"{name}: config.json says layers {spec.moe_layer_indices} route to {spec.experts} "
            f"experts, top-{spec.top_k}; layers {routing} were seen to, of {roles.experts} "
            f"experts, top-{roles.top_k}"
        )
    return spec, inferred


def _seen_spec(config: Any, roles: Roles, name: str) -> ModelSpec:
    """Of a family that ``hf_config`` does not know: from what is seen, attention as grouped."""
    expert = _weights(roles.moe[0].experts) // roles.experts
    shared = round(_beside_experts(roles.moe[0]) / (3 * config.hidden_size))
    heads = config.num_attention_heads
    return ModelSpec(
        name=name,
        layers=roles.layers,
        dense_layers=tuple(
            sorted(set(range(roles.layers)) - {part.index for part in roles.moe}),
        ),
        dense_hidden=getattr(config, "intermediate_size", 0) or 0,
        hidden=config.hidden_size,
        experts=roles.experts,
        top_k=roles.top_k,
        expert_hidden=max(1, round(expert / (3 * config.hidden_size))),
        shared_experts=int(shared > 0),
        shared_hidden=shared,
        attention=GroupedQueryAttention(
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        ),
        vocab=config.vocab_size,
    )


def _beside_experts(part: MoELayer) -> int:
    """Weights of what runs beside the routed experts: all else in the least module that holds both.

    That may be the layer itself; attention is no part of it.
    """
    around = [m for m in part.layer.modules() if {part.experts, part.router} <= {*m.modules()}]
    block = min(around, key=_weights)
    inside = {*block.modules()}
    others = [m for m in (part.experts, part.router, part.mixer) if m is not None and m in inside]
    return _weights(block) - sum(map(_weights, others))


def _weights(module: Any) -> int:
    return sum(values.numel() for values in module.parameters())
