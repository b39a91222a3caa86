"""What a statement of quantisation says of each part of a model, in the words of each tool."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.models.keys import Config, QuantisationError, optional
from prefetch_sim.traces.models.precision import Name, Published, with_group

# Where lists of modules that are left as they were are found.
_LEFT = (
    "modules_to_not_convert", "ignored_layers", "exclude_modules", "ignore", "exclude",
    "llm_int8_skip_modules", "modules_to_not_quantize", "skip_modules",
)  # fmt: skip
_MODULES = {
    "experts": ("mlp.experts.0.down_proj", "block_sparse_moe.experts.0.w2", "mlp.experts"),
    "shared": ("mlp.shared_experts.down_proj", "mlp.shared_expert.down_proj"),
    "attention": ("self_attn.q_proj", "self_attn.o_proj", "self_attn.kv_b_proj"),
}
_WORDS = {
    "shared": ("shared_expert", "shared_mlp"),
    "experts": ("experts", "switch_mlp", "block_sparse_moe"),
    "attention": ("attn", "attention", "mixer", "mamba"),
    "head": ("lm_head",),
}


class Statement:
    """Reads one statement: a name for each part of a model."""

    def __init__(self, stated: Config, plain: Name, layers: int, experts: int) -> None:
        inner = stated.get("quantization_config") or stated.get("quantization")
        self._stated = {**stated, **inner} if isinstance(inner, dict) else stated
        self._plain, self._layers, self._experts = plain, max(layers, 1), max(experts, 1)
        method = self._stated.get("quant_method") or self._stated.get("quant_type") or ""
        self._method = str(method).lower().replace("_", "-")

    def read(self) -> Published:
        names = self._groups() or self._algorithms() or self._mlx() or self._one()
        kept = [str(m) for key in _LEFT for m in _listed(self._stated.get(key))]
        kept += [
            f"re:{rule[2:]}" for rule in self._stated.get("dynamic") or {} if rule.startswith("-:")
        ]
        extra = self._stated.get("extra_config") or {}
        kept += [name for name, own in extra.items() if (own or {}).get("bits") == 16]
        whole = {part: name for part, name in names.items() if not self._covers(kept, part)}
        parts = {
            part: whole.get(part, self._plain)
            for part in ("experts", "shared", "attention", "head")
        }
        if set(parts.values()) == {self._plain}:
            raise QuantisationError("quantises no part that is known")
        return Published.model_validate({**parts, **self._cache()})

    def _one(self) -> dict[str, Name]:
        """One way for all products but lm_head's."""
        stated, method = self._stated, self._method
        if method in ("exl2", "exl3"):  # a mean
            mean = float(stated["bits"])
            name = f"int{min(max(math.ceil(mean), 2), 8)}@{mean:.6g}"
            return {"experts": name, "shared": name, "attention": name}
        bits = optional(stated, "bits", "w_bit", "num_bits", "nbits", "wbits")
        group = stated.get("group_size", stated.get("q_group_size", 128))
        if type(group) is not int:
            raise QuantisationError(f"group_size {shown(group)}")
        if method == "mxfp4":  # of experts alone, whatever its list of the rest
            return {"experts": "mxfp4", "shared": "mxfp4"}
        if method in ("gptq", "awq", "auto-round", "intel/auto-round", "auto-gptq") and bits:
            name = _kind(str(stated.get("data_type", "int")), bits, group)
        elif method in ("fp8", "fbgemm-fp8", "w8a8-fp8", "finegrained-fp8"):
            name = "fp8"
        elif method in ("mxfp8", "nvfp4", "petit-nvfp4"):
            name = method.removeprefix("petit-")
        elif method in ("eetq", "w8a8-int8") or (
            method == "bitsandbytes" and stated.get("load_in_8bit")
        ):
            name = "int8"
        elif method == "bitsandbytes" and (stated.get("load_in_4bit") or bits == 4):
            # A 32-bit scale per 64; quantised again to 8 bits, of 256 a scale.
            double = stated.get("bnb_4bit_use_double_quant")
            name = f"int4@{4 + (8 / 64 + 32 / 64 / 256 if double else 32 / 64):.6g}"
        elif method == "hqq":
            own = stated.get("weight_quant_params") or stated["quant_config"]["weight_quant_params"]
            name = with_group(optional(own, "nbits"), optional(own, "group_size"), 32)
        elif method == "quanto":
            name = _algorithm(str(stated.get("weights")), 128)
        elif method == "torchao":
            of = str(stated.get("quant_type"))
            own_group = re.search(r"group_size\D{1,4}(\d{1,4})|wo-(\d{1,4})$", of)
            name = _algorithm(of, int(own_group[1] or own_group[2]) if own_group else 0)
        elif method == "quark":
            own = stated["global_quant_config"]["weight"]
            of = str(own["dtype"]).lower()
            name = "mxfp4" if of == "fp4" else _algorithm(of, optional(own, "group_size"))
        else:
            raise QuantisationError(
                f"quant_method {shown(method or None)} with bits {bits or None}"
            )
        return {"experts": name, "shared": name, "attention": name}

    def _groups(self) -> dict[str, Name]:
        """Compressed-tensors, and what is published like it: by group of modules."""
        groups = self._stated.get("config_groups")
        if not groups:
            return {}
        found: dict[str, Name] = {}
        # What names modules goes before what names all of a class.
        for part in ("experts", "shared", "attention"):
            for own in sorted(groups.values(), key=lambda g: "Linear" in _listed(g.get("targets"))):
                targets = [str(t) for t in _listed(own.get("targets"))] or ["Linear"]
                classes = [t for t in targets if re.fullmatch("[A-Z]\\w*", t)]
                weights = own.get("weights")
                if weights and (classes or self._covers(targets, part)):
                    found[part] = _kind(
                        str(weights.get("type", "int")),
                        optional(weights, "num_bits"),
                        optional({"group_size": weights.get("group_size")}, "group_size")
                        if weights.get("group_size") != -1
                        else 0,
                    )
                    break
        return found

    def _algorithms(self) -> dict[str, Name]:
        """TensorRT Model Optimizer's: one name, or one by module."""
        stated = self._stated
        algorithm = stated.get("quant_algo")
        if not algorithm:
            return {}
        every: Mapping[str, Any] = stated.get("quantized_layers") or {}
        if not every:
            name = _algorithm(str(algorithm), optional(stated, "group_size"))
            return {"experts": name, "shared": name, "attention": name}
        votes: dict[str, Counter[Name]] = {}
        for module, own in every.items():
            part = _part(module)
            if part is not None:
                of = _algorithm(str(own.get("quant_algo")), optional(own, "group_size"))
                votes.setdefault(part, Counter())[of] += 1
        return {part: names.most_common(1)[0][0] for part, names in votes.items()}

    def _mlx(self) -> dict[str, Name]:
        """MLX's: embeddings too, and modules that differ under their own names."""
        stated = self._stated
        if self._method or type(stated.get("bits")) is not int or "zero_point" in stated:
            return {}
        mode = str(stated.get("mode", "affine"))

        def name(own: Mapping[str, Any]) -> Name:
            if mode != "affine":
                return _algorithm(mode, 0)
            bits, group = optional(dict(own), "bits"), optional(dict(own), "group_size")
            return with_group(bits, group or 64, 32)

        parts = ("experts", "shared", "attention", "head")
        votes = {part: Counter[Name]() for part in parts}
        for module, own in stated.items():
            part = _part(module) if "." in module or module == "lm_head" else None
            if part is not None and (own is False or isinstance(own, dict)):
                votes[part][name({**stated, **own}) if own else self._plain] += 1
        usual = name(stated)
        most = {part: found.most_common(1) for part, found in votes.items()}
        # Expert by expert is as good as all at once.
        return {
            part: top[0][0] if top and (part == "head" or top[0][1] * 2 > self._layers) else usual
            for part, top in most.items()
        }

    def _cache(self) -> dict[str, str]:
        stated = self._stated
        algorithm, scheme = stated.get("kv_cache_quant_algo"), stated.get("kv_cache_scheme")
        if isinstance(scheme, dict):
            algorithm = _kind(str(scheme.get("type")), optional(scheme, "num_bits"), 0)
        if not algorithm:
            return {}
        known = ("fp8", "int8", "nvfp4")
        found = [name for name in known if name in str(algorithm).lower()]
        if not found:
            raise QuantisationError(f"a KV cache in {shown(algorithm)}")
        return {"kv": found[0]}

    def _covers(self, patterns: Iterable[str], part: str) -> bool:
        """Whether ``patterns`` name modules of ``part`` in more than half of the layers."""
        layers: set[int] = set()
        experts: set[tuple[str, str]] = set()
        for pattern in patterns:
            if pattern.startswith("re:"):
                if re.search(r"\)[*+{]", pattern) or len(re.findall(r"[*+{]", pattern)) > 5:
                    raise QuantisationError(f"pattern {pattern[:60]!r} may take for ever to match")
                rule = re.compile(pattern[3:500])
                layers |= {i for i in range(self._layers) if _matches(rule, part, i)}
            elif part in _parts(pattern):
                at = re.search(r"layers\.(\d+)\.", pattern)
                one = re.search(r"experts\.(\d+)\.", pattern)
                if one and part == "experts":
                    experts.add((at[1] if at else "", one[1]))
                else:
                    layers |= {int(at[1])} if at and len(at[1]) < 6 else {*range(self._layers)}
        share = len(experts) / (self._layers * self._experts) + len(layers) / self._layers
        return share > 0.5


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _parts(module: str) -> list[str]:
    found = [part for part, words in _WORDS.items() if any(word in module for word in words)]
    if "shared" in found and "experts" in found and "shared_expert" in module:
        found.remove("experts")
    return found


def _part(module: str) -> str | None:
    router = module.endswith((".gate", ".router", "shared_expert_gate"))
    return None if router else next(iter(_parts(module)), None)


def _matches(rule: re.Pattern[str], part: str, layer: int) -> bool:
    if part == "head":
        return rule.match("lm_head") is not None
    names = (f"model.layers.{layer}.{module}" for module in _MODULES[part])
    return any(rule.match(name) for name in names)


def _kind(kind: str, bits: int, group: int) -> Name:
    """By the kind of number, its bits and how many share a scale (0: a row)."""
    kind = kind.lower()
    if kind.startswith("int") and 2 <= bits <= 8:
        return with_group(bits, group)
    if "float" in kind or "fp" in kind:
        if bits == 8:
            return "mxfp8" if group == 32 else "fp8"
        if bits == 4 and group in (16, 32):
            return "nvfp4" if group == 16 else "mxfp4"
    raise QuantisationError(f"{kind[:20]} numbers of {bits} bits in groups of {group}")


def _algorithm(name: str, group: int) -> Name:
    """By its name, as W4A16_AWQ or Int8WeightOnlyConfig."""
    given = name.lower()
    for known in ("nvfp4", "mxfp8", "mxfp4"):
        if known in given:
            return known
    if re.search("int4|w4a(8|16)|uint4", given):
        return with_group(4, group or 128)
    if re.search("int8|w8a(8|16)", given) and "fp8" not in given:
        return "int8"
    if re.search("fp8|float8", given):
        return "fp8"
    raise QuantisationError(f"quant_algo {shown(name)}")
