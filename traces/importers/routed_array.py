"""Routed experts as an array, [tokens, layers, top-k], checked against a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import Array, TraceError

LENGTHS = ("prompt_len", "prompt_tokens", "num_prompt_tokens")  # of a prompt, as people name it


def routed_array(path: Path, model: ModelSpec, name: str, array: Array) -> Array:
    """``array`` without the layers that have no router, -1 where nothing was routed: int16.

    It may have all layers, those without a router all 0 or all -1. Raises TraceError for another
    shape, or an expert that the model has not.
    """
    layers, count, top_k = model.topology
    dense = list(model.dense_layers)
    if array.ndim == 3 and array.shape[1:] == (model.layers, top_k):
        beside = array[:, dense]
        if ((beside == 0).all(axis=(1, 2)) | (beside == -1).all(axis=(1, 2))).all():
            array = array[:, list(model.moe_layer_indices)]
    if array.ndim != 3 or array.shape[1:] != (layers, top_k):
        has = f"{array.shape[1]} layers of top-{array.shape[2]}" if array.ndim == 3 else "no layers"
        raise TraceError(f"{path}: {name} has {has}, model {model.name} {layers} of top-{top_k}")
    outside = (array < -1) | (array >= count)
    if outside.any():
        row, layer, slot = np.argwhere(outside)[0].tolist()
        raise TraceError(
            f"{path}: {name}, row {row}, layer {layer}: expert {array[row, layer, slot]} out of "
            f"range 0..{count - 1}"
        )
    return array.astype(np.int16)
